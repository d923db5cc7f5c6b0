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
-- What the calls of some scopes cost by day, all of them in one reading. A scope names at most one user or tag, whose sums
-- are looked up a day at a time: those of all users or tags would be read for each.
select number, array_agg(day) as days, array_agg(cost_nanousd) as costs
from (
  select number, (extract(epoch from at) / 86400)::int as day, sum(cost_nanousd)::bigint as cost_nanousd
  from (
    select *, kind = 'user' and coalesce(feature, model, key) is null as is_user_alone
    from jsonb_to_recordset(%(scopes)s::jsonb)
      as scope (number int, kind text, name text, feature text, model text, key text)
  ) scope
  cross join lateral (
    select at, cost_nanousd from cost_rollups sums
    where scope.kind = 'all' and sums.tenant_id = %(tenant_id)s and sums.kind = 'all' and sums.grain_s = 86400
      and sums.at >= %(since)s and sums.at < %(until)s
      and (scope.feature is null or sums.feature = scope.feature)
      and (scope.model is null or sums.model = scope.model) and (scope.key is null or sums.key_id = scope.key)
    union all
    select at, cost_nanousd
    from generate_series(%(since)s::timestamptz, %(until)s::timestamptz - interval '1 day', interval '1 day') as start
    cross join lateral (
      select at, cost_nanousd from user_days
      where is_user_alone and tenant_id = %(tenant_id)s and at = start and user_days.name = scope.name
      union all
      select at, cost_nanousd from cost_rollups sums
      where scope.kind <> 'all' and not is_user_alone and sums.tenant_id = %(tenant_id)s and sums.kind = scope.kind
        and sums.grain_s = 86400 and sums.at = start and sums.name = scope.name
        and (scope.feature is null or sums.feature = scope.feature)
        and (scope.model is null or sums.model = scope.model) and (scope.key is null or sums.key_id = scope.key)
      offset 0
    ) looked_up
    offset 0
  ) sums
  group by number, day
) each
group by number
