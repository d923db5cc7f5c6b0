-- name: daily
-- What the whole and each value of a dimension cost by day, the dearest of them; from the sums by day alone.
with each as (
  select case %(by)s when 'feature' then feature when 'model' then model when 'key' then key_id when 'user' then name end
           as name,
         (extract(epoch from at) / 86400)::int as day, sum(cost_nanousd)::bigint as cost_nanousd
  from cost_rollups
  where tenant_id = %(tenant_id)s and kind = case %(by)s when 'user' then 'user' else 'all' end and grain_s = 86400
    and at >= %(since)s and at < %(until)s and (%(key_id)s::text is null or key_id = %(key_id)s)
  group by 1, 2
)
(select true as is_total, null as name, array_agg(day) as days, array_agg(cost_nanousd) as costs
 from (select day, sum(cost_nanousd)::bigint as cost_nanousd from each group by day) total)
union all
(select false, name, array_agg(day), array_agg(cost_nanousd)
 from each where %(by)s <> '' group by name order by sum(cost_nanousd) desc, name limit %(limit)s)

-- name: daily_of_scopes
-- What the calls of some scopes cost by day, all of them in one reading. A scope names at most one user or tag.
select number, array_agg(day) as days, array_agg(cost_nanousd) as costs
from (
  select number, (extract(epoch from at) / 86400)::int as day, sum(cost_nanousd)::bigint as cost_nanousd
  from jsonb_to_recordset(%(scopes)s::jsonb)
    as scope (number int, kind text, name text, feature text, model text, key text)
  cross join lateral (
    select at, cost_nanousd from cost_rollups sums
    where sums.tenant_id = %(tenant_id)s and sums.kind = scope.kind and sums.grain_s = 86400
      and sums.at >= %(since)s and sums.at < %(until)s
      and (scope.name is null or sums.name = scope.name) and (scope.feature is null or sums.feature = scope.feature)
      and (scope.model is null or sums.model = scope.model) and (scope.key is null or sums.key_id = scope.key)
    offset 0
  ) sums
  group by number, day
) each
group by number
