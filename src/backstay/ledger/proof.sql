-- name: memory
-- For the groups of a day, which would else be written to disk and read again.
set local work_mem = '64MB'

-- name: check
-- A call without entries was billed nothing. An unknown cost makes the call's unknown in both.
select coalesce(sum(ledger), 0)::bigint as ledger_nanousd, coalesce(sum(trace), 0)::bigint as traces_nanousd,
       count(*) filter (where ledger is distinct from trace) as differing_calls
from (
  select case when entries.call_id is null then 0 else entries.cost end as ledger,
         case when span.span_id is null then 0 else span.cost_nanousd end as trace
  from (
    select call_id, case when count(*) = count(cost_nanousd) then sum(cost_nanousd) end as cost
    from ledger_entries
    where tenant_id = %(tenant_id)s and at >= %(since)s and at < %(until)s
    group by call_id
  ) entries
  full join (
    select span_id, cost_nanousd from spans
    where tenant_id = %(tenant_id)s and kind = 'call' and started_at >= %(since)s and started_at < %(until)s
  ) span on span.span_id = entries.call_id
) both_books

-- name: days
-- The first and the last day of which there is anything.
select min(at) as first, max(at) as last
from (
  (select at from ledger_entries where tenant_id = %(tenant_id)s order by at limit 1)
  union all
  (select at from ledger_entries where tenant_id = %(tenant_id)s order by at desc limit 1)
  union all
  (select started_at from spans where tenant_id = %(tenant_id)s order by started_at limit 1)
  union all
  (select started_at from spans where tenant_id = %(tenant_id)s order by started_at desc limit 1)
  union all
  select min(at) from user_days where tenant_id = %(tenant_id)s
  union all
  select max(at) from user_days where tenant_id = %(tenant_id)s
) edge

-- name: different
-- Keys of which there is not one row of each side, or the two are not the same.
select count(*) as differing
from (
  select kind, grain_s, at, name, tag, model, target, feature, key_id
  from (select 1 as side, * from expected union all select -1, * from kept) both_sides
  group by 1, 2, 3, 4, 5, 6, 7, 8, 9
  having count(*) <> 2 or sum(side) <> 0 or sum(side * calls) <> 0 or sum(side * target_calls) <> 0
      or sum(side * unknown_calls) <> 0 or sum(side * target_unknown_calls) <> 0
      or sum(side * estimated_attempts) <> 0 or sum(side * unconfirmed_attempts) <> 0
      or sum(side * input_tokens) <> 0 or sum(side * output_tokens) <> 0 or sum(side * cost_nanousd) <> 0
) different

-- name: compare_day
-- Of each sum that is kept of a day and its hours, whether it is what its entries add up to; both without the other included.
with hourly as materialized (
  select rollup_start(3600, at) as hour, user_id, tags, model, target, feature, key_id,
         count(*) filter (where place = 1) as calls, count(*) filter (where target_place = 1) as target_calls,
         count(*) filter (where cost_nanousd is null and unknown_place = 1) as unknown_calls,
         count(*) filter (where cost_nanousd is null and target_unknown_place = 1) as target_unknown_calls,
         count(*) filter (where estimated) as estimated_attempts, count(*) filter (where unconfirmed) as unconfirmed_attempts,
         coalesce(sum(input_tokens), 0) as input_tokens, coalesce(sum(output_tokens), 0) as output_tokens,
         coalesce(sum(cost_nanousd), 0) as cost_nanousd
  from (
    select *, row_number() over (partition by at, call_id order by attempt) as place,
           row_number() over (partition by at, call_id, target order by attempt) as target_place,
           row_number() over (partition by at, call_id, cost_nanousd is null order by attempt) as unknown_place,
           row_number() over (partition by at, call_id, target, cost_nanousd is null order by attempt)
             as target_unknown_place
    from ledger_entries where tenant_id = %(tenant_id)s and at >= %(since)s and at < %(until)s
  ) placed
  group by 1, 2, 3, 4, 5, 6, 7
), sealed as materialized (
  select grain_s, at from sealed_stretches
  where tenant_id = %(tenant_id)s and grain_s = any(array[3600, 86400]) and at >= %(since)s and at < %(until)s and is_sealed
), expected as (
  select kind, grain_s, rollup_start(grain_s, hour) as at, name, null::text as tag, model, target, feature, key_id,
         {sums}
  from hourly
  cross join lateral (
    values ('all', array[null]), ('user', array[user_id]),
           ('tag', case when cardinality(tags) > 0 then tags else array[null] end)
  ) as part (kind, names)
  cross join unnest(names) as name
  cross join rollup_grains() as grain_s
  group by 1, 2, 3, 4, 5, 6, 7, 8, 9
  union all
  select 'user_alone', 86400, %(since)s, user_id, null, null, null, null, null, {alone_sums}
  from hourly
  group by 4
  union all
  select 'tag_user', grain_s, at, user_id, tag, null, null, null, null, {alone_sums}
  from hourly join sealed on at = hour and grain_s = 3600
  left join lateral unnest(tags) as tag on true
  group by 2, 3, 4, 5
  union all
  select 'tag_user', 86400, %(since)s, user_id, tag, null, null, null, null, {alone_sums}
  from hourly left join lateral unnest(tags) as tag on true
  where exists (select from sealed where grain_s = 86400)
  group by 4, 5
  union all
  select 'user_sealed', 86400, %(since)s, user_id, null, null, null, null, null, {alone_sums}
  from hourly
  where exists (select from sealed where grain_s = 86400)
  group by 4
), kept as (
  select kind, grain_s, at, name, null::text as tag, {all_sums}
  from cost_rollups
  where tenant_id = %(tenant_id)s and kind = any(array['all', 'user', 'tag'])
    and grain_s = any(array[3600, 21600, 86400]) and at >= %(since)s and at < %(until)s
  union all
  select 'user_alone', 86400, at, name, null, null, null, null, null, {user_sums_whole}
  from user_days where tenant_id = %(tenant_id)s and at >= %(since)s and at < %(until)s
  union all
  select case kind when 'user_alone' then 'user_sealed' else kind end, grain_s, at, name, tag, null, null, null, null,
         {user_sums_whole}
  from sealed_sums join sealed using (grain_s, at)
  where tenant_id = %(tenant_id)s and kind = any(array['tag_user', 'user_alone'])
    and grain_s = any(array[3600, 86400]) and at >= %(since)s and at < %(until)s
)
{different}

-- name: compare_long
-- Of each sum that is kept of a week or of four, whether it is what the sums of its days add up to, which are compared
-- with their entries.
with expected as (
  select 'user_alone' as kind, %(grain_s)s::int as grain_s, %(since)s::timestamptz as at, name, null::text as tag,
         null::text as model, null::text as target, null::text as feature, null::text as key_id, {alone_sums}
  from user_days
  where tenant_id = %(tenant_id)s and at >= %(since)s and at < %(until)s and %(grain_s)s = 604800
  group by name
  union all
  select 'user_sealed', %(grain_s)s, %(since)s, name, null, null, null, null, null, {alone_sums}
  from user_days
  where tenant_id = %(tenant_id)s and at >= %(since)s and at < %(until)s and exists (select {sealed})
  group by name
  union all
  select 'user', %(grain_s)s, %(since)s, name, null, model, target, feature, key_id, {sums}
  from cost_rollups
  where tenant_id = %(tenant_id)s and kind = 'user' and grain_s = 86400 and at >= %(since)s and at < %(until)s
    and exists (select {sealed})
  group by name, model, target, feature, key_id
  union all
  select 'tag_user', %(grain_s)s, %(since)s, name, tag, null, null, null, null, {alone_sums}
  from sealed_sums
  where tenant_id = %(tenant_id)s and kind = 'tag_user' and grain_s = 86400 and at >= %(since)s and at < %(until)s
    and exists (select {sealed})
  group by name, tag
), kept as (
  select 'user_alone' as kind, 604800 as grain_s, at, name, null::text as tag, null::text as model, null::text as target,
         null::text as feature, null::text as key_id, {user_sums_whole}
  from user_weeks where tenant_id = %(tenant_id)s and at = %(since)s and %(grain_s)s = 604800
  union all
  select case kind when 'user_alone' then 'user_sealed' else kind end, grain_s, at, name, tag, model, target, feature,
         key_id, calls, coalesce(target_calls, 0), unknown_calls, coalesce(target_unknown_calls, 0), estimated_attempts,
         unconfirmed_attempts, input_tokens, output_tokens, cost_nanousd
  from sealed_sums
  where tenant_id = %(tenant_id)s and kind = any(array['user', 'user_alone', 'tag_user']) and grain_s = %(grain_s)s
    and at = %(since)s and exists (select {sealed})
)
{different}

-- name: sealed
from sealed_stretches
where tenant_id = %(tenant_id)s and grain_s = %(grain_s)s and at = %(since)s and is_sealed

-- name: all_sums
model, target, feature, key_id, calls, target_calls, unknown_calls, target_unknown_calls, estimated_attempts,
unconfirmed_attempts, input_tokens, output_tokens, cost_nanousd

-- name: user_sums_whole
calls, 0, unknown_calls, 0, estimated_attempts, unconfirmed_attempts, input_tokens, output_tokens, cost_nanousd

-- name: sums
sum(calls) as calls, sum(target_calls) as target_calls, sum(unknown_calls) as unknown_calls,
sum(target_unknown_calls) as target_unknown_calls, sum(estimated_attempts) as estimated_attempts,
sum(unconfirmed_attempts) as unconfirmed_attempts, sum(input_tokens) as input_tokens, sum(output_tokens) as output_tokens,
sum(cost_nanousd) as cost_nanousd

-- name: alone_sums
sum(calls) as calls, 0 as target_calls, sum(unknown_calls) as unknown_calls, 0 as target_unknown_calls,
sum(estimated_attempts) as estimated_attempts, sum(unconfirmed_attempts) as unconfirmed_attempts,
sum(input_tokens) as input_tokens, sum(output_tokens) as output_tokens, sum(cost_nanousd) as cost_nanousd
