-- name: scope_hours
-- What each scope cost in each of some hours, in one reading of the sums by hour. Scopes that nowhere cost as much as
-- matters in the hours that are judged are left out here, so that what is left is few.
select dimension, name, array_agg(hour order by hour) as hours, array_agg(cost_nanousd order by hour) as costs
from (
  select case when grouping(key_id) = 0 then 'key' when grouping(feature) = 0 then 'feature'
              when grouping(model) = 0 then 'model' else 'tenant' end as dimension,
         case when grouping(key_id) = 0 then key_id when grouping(feature) = 0 then feature
              when grouping(model) = 0 then model else %(tenant_id)s end as name,
         (extract(epoch from at) / 3600)::bigint as hour, sum(cost_nanousd)::bigint as cost_nanousd
  from cost_rollups
  where tenant_id = %(tenant_id)s and kind = 'all' and grain_s = 3600
    and at = any(%(hours)s::timestamptz[])
    and (%(key_id)s::text is null or key_id = %(key_id)s)
  group by grouping sets ((at), (at, key_id), (at, feature), (at, model))
  union all
  select 'user', name, (extract(epoch from at) / 3600)::bigint, sum(cost_nanousd)::bigint
  from cost_rollups
  where tenant_id = %(tenant_id)s and kind = 'user' and grain_s = 3600 and name is not null
    and at = any(%(hours)s::timestamptz[])
    and (%(key_id)s::text is null or key_id = %(key_id)s)
  group by name, at
) each
where name is not null and cost_nanousd > 0
  and (%(names)s::text[] is null
       or (dimension, name) in (select * from unnest(%(dimensions)s::text[], %(names)s::text[])))
group by dimension, name
having max(cost_nanousd) filter (where hour between %(first)s and %(last)s) > %(least)s

-- name: explain
-- What the hours of each finding came to beside those that are usual, whole and by every dimension, in one reading. The
-- sums by user know all the others too. A usual hour counts with its weight, so that the weights of one hour add up to 1.
with compared as (
  select number, dimension, name, timestamptz '1970-01-01 00:00:00+00' + hour * interval '1 hour' as at, weight, is_found
  from jsonb_to_recordset(%(findings)s::jsonb)
    as finding (number int, dimension text, name text, hours bigint[], weights float8[], found boolean[])
  cross join lateral unnest(hours, weights, found) as each (hour, weight, is_found)
)
select number, is_found, part.dimension, part.name, sum(calls * weight)::float8 as calls,
       sum(input_tokens * weight)::float8 as input_tokens, sum(output_tokens * weight)::float8 as output_tokens,
       sum(cost_nanousd * weight)::float8 as cost_nanousd
from compared
join lateral (
  select * from cost_rollups sums
  where sums.tenant_id = %(tenant_id)s and sums.kind = 'user' and sums.grain_s = 3600 and sums.at = compared.at
    and (%(key_id)s::text is null or sums.key_id = %(key_id)s)
    and case compared.dimension when 'key' then sums.key_id = compared.name
                                when 'feature' then sums.feature = compared.name
                                when 'model' then sums.model = compared.name
                                when 'user' then sums.name = compared.name else true end
  offset 0
) sums on true
cross join lateral (
  values ('all', ''), ('key', sums.key_id), ('feature', sums.feature), ('model', sums.model), ('user', sums.name)
) as part (dimension, name)
group by number, is_found, part.dimension, part.name
