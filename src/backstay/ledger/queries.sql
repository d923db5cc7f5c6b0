-- name: merge_entries
-- What LedgerEntry leaves out of its JSON has the default that stands here. In the order of the key, so that two who ship
-- the same entries wait for each other and never in a circle.
insert into ledger_entries (tenant_id, at, call_id, attempt, trace_id, key_id, user_id, feature, tags, model, target,
                            input_tokens, output_tokens, cost_nanousd, estimated, unconfirmed, price_source, lines, unused)
select doc->>'tenant_id', timestamptz 'epoch' + at_ns / 1000 * interval '1 microsecond', call_id, attempt, trace_id,
       key_id, user_id, feature, coalesce(tags, '{}'), model, target, input_tokens, output_tokens, cost_nanousd,
       coalesce(estimated, false), coalesce(unconfirmed, false), price_source, coalesce(lines, '[]'), unused
from shipment, jsonb_to_recordset(doc->'entries') as entry(
  at_ns bigint, call_id text, attempt smallint, trace_id text, key_id text, user_id text, feature text, tags text[],
  model text, target text, input_tokens bigint, output_tokens bigint, cost_nanousd bigint, estimated boolean,
  unconfirmed boolean, price_source text, lines jsonb, unused text)
order by doc->>'tenant_id', at_ns, call_id, attempt
on conflict do nothing

-- name: entries
select call_id, attempt, (extract(epoch from at) * 1000000)::bigint * 1000 as at_ns, trace_id, key_id, user_id, feature,
       tags, model, target, input_tokens, output_tokens, cost_nanousd, estimated, unconfirmed, price_source, lines, unused
from ledger_entries
where tenant_id = %(tenant_id)s and trace_id = %(trace_id)s
  and (%(key_id)s::text is null or key_id = %(key_id)s)
order by at, call_id, attempt

-- name: report_memory
-- For groups in their thousands, which would else be written to disk and read again.
set local work_mem = '32MB'

-- name: earlier_attempts
-- Other attempts of the same call in the same group, so that a call is counted once. All entries of a call have its time
-- and differ by target alone; as further attempts are few, they alone are looked after.
from ledger_entries earlier
where earlier.tenant_id = %(tenant_id)s and earlier.at = entry.at and earlier.call_id = entry.call_id
  and earlier.attempt < entry.attempt and earlier.at >= %(since_{n})s and earlier.at < %(until_{n})s
  and (not %(by_target)s or earlier.target = entry.target)

-- name: parts
-- What a span of time is added up from: sums of its whole stretches, and the entries of each of its edges. Those whose sign
-- is -1 are taken away from one that goes beyond the span.
select sums.at, "user", tag, feature, model, target, key_id as key, sign * case when %(by_target)s then target_calls else calls end as calls,
       sign * case when %(by_target)s then target_unknown_calls else unknown_calls end as unknown_cost_calls,
       sign * estimated_attempts as estimated_attempts, sign * unconfirmed_attempts as unconfirmed_attempts,
       sign * input_tokens as input_tokens, sign * output_tokens as output_tokens, sign * cost_nanousd as cost_nanousd
from unnest(%(grains_s)s::int[], %(whole_since)s::timestamptz[], %(whole_until)s::timestamptz[], %(whole_signs)s::int[],
            %(whole_sealed)s::bool[]) as whole (grain_s, since, until, sign, is_sealed)
cross join lateral (
  select at, case when kind = 'user' then name end as "user", case when kind = 'tag' then name end as tag, {all_sums}
  from cost_rollups sums
  where not whole.is_sealed and sums.tenant_id = %(tenant_id)s and sums.kind = %(kind)s
    and sums.grain_s = whole.grain_s and sums.at >= whole.since and sums.at < whole.until
    and (%(key_id)s::text is null or key_id = %(key_id)s)
  union all
  select at, name, tag, {all_sums}
  from sealed_sums sums
  where whole.is_sealed and sums.tenant_id = %(tenant_id)s and sums.kind = %(kind)s and sums.grain_s = whole.grain_s
    and sums.at >= whole.since and sums.at < whole.until and (%(key_id)s::text is null or key_id = %(key_id)s)
  offset 0
) sums
{edges}

-- name: all_sums
model, target, feature, key_id, calls, target_calls, unknown_calls, target_unknown_calls, estimated_attempts,
unconfirmed_attempts, input_tokens, output_tokens, cost_nanousd

-- name: user_sums
calls, unknown_calls, estimated_attempts, unconfirmed_attempts, input_tokens, output_tokens, cost_nanousd

-- name: user_parts
-- The same by user alone: from the sums that know nothing else, but parts of days.
select sums.at, name as "user", null::text as tag, null::text as feature, null::text as model, null::text as target,
       null::text as key, sign * calls as calls, sign * unknown_calls as unknown_cost_calls,
       sign * estimated_attempts as estimated_attempts, sign * unconfirmed_attempts as unconfirmed_attempts,
       sign * input_tokens as input_tokens, sign * output_tokens as output_tokens, sign * cost_nanousd as cost_nanousd
from unnest(%(grains_s)s::int[], %(whole_since)s::timestamptz[], %(whole_until)s::timestamptz[], %(whole_signs)s::int[],
            %(whole_sealed)s::bool[]) as whole (grain_s, since, until, sign, is_sealed)
cross join lateral (
  select at, name, {user_sums}
  from sealed_sums
  where whole.is_sealed and tenant_id = %(tenant_id)s and kind = 'user_alone' and grain_s = whole.grain_s
    and at >= whole.since and at < whole.until
  union all
  select at, name, {user_sums}
  from user_days
  where not whole.is_sealed and whole.grain_s = 86400 and tenant_id = %(tenant_id)s
    and at >= whole.since and at < whole.until
  union all
  select at, name, {user_sums}
  from cost_rollups
  where not whole.is_sealed and whole.grain_s < 86400 and tenant_id = %(tenant_id)s and kind = 'user'
    and grain_s = whole.grain_s and at >= whole.since and at < whole.until
  offset 0
) sums
{edges}

-- name: some_users_parts
-- Those of some users alone, by user and all else: their rows are looked up one stretch and user at a time.
select start as at, wanted.name as "user", null::text as tag, feature, model, target, key_id as key,
       sign * case when %(by_target)s then target_calls else calls end as calls,
       sign * case when %(by_target)s then target_unknown_calls else unknown_calls end as unknown_cost_calls,
       sign * estimated_attempts as estimated_attempts, sign * unconfirmed_attempts as unconfirmed_attempts,
       sign * input_tokens as input_tokens, sign * output_tokens as output_tokens, sign * cost_nanousd as cost_nanousd
from unnest(%(grains_s)s::int[], %(whole_since)s::timestamptz[], %(whole_until)s::timestamptz[], %(whole_signs)s::int[],
            %(whole_sealed)s::bool[]) as whole (grain_s, since, until, sign, is_sealed)
cross join lateral (select grain_s * interval '1 second' as length) as grain
cross join lateral generate_series(whole.since, whole.until - length, length) as start
cross join unnest(%(users)s::text[]) as wanted (name)
cross join lateral (
  select {all_sums} from sealed_sums
  where whole.is_sealed and tenant_id = %(tenant_id)s and kind = 'user' and grain_s = whole.grain_s and at = start
    and name = wanted.name
  union all
  select {all_sums} from sealed_sums
  where whole.is_sealed and tenant_id = %(tenant_id)s and kind = 'user' and grain_s = whole.grain_s and at = start
    and name is null and wanted.name is null
  union all
  select {all_sums} from cost_rollups
  where not whole.is_sealed and tenant_id = %(tenant_id)s and kind = 'user' and grain_s = whole.grain_s and at = start
    and name = wanted.name
  union all
  select {all_sums} from cost_rollups
  where not whole.is_sealed and tenant_id = %(tenant_id)s and kind = 'user' and grain_s = whole.grain_s and at = start
    and name is null and wanted.name is null
  offset 0
) sums
{edges}

-- name: edge
select entry.at, user_id, tag, feature, model, target, key_id,
       %(sign_{n})s * case when attempt > 0 then not exists (select {earlier_attempts}) else true end::int,
       %(sign_{n})s * case when cost_nanousd is not null then false
                           when attempt > 0 then not exists (select {earlier_attempts} and earlier.cost_nanousd is null)
                           else true end::int,
       %(sign_{n})s * estimated::int, %(sign_{n})s * unconfirmed::int, %(sign_{n})s * input_tokens,
       %(sign_{n})s * output_tokens, %(sign_{n})s * cost_nanousd
from ledger_entries entry
left join lateral unnest(case when %(by_tag)s then tags end) as tag on true
where entry.tenant_id = %(tenant_id)s and entry.at >= %(since_{n})s and entry.at < %(until_{n})s
  and (%(key_id)s::text is null or key_id = %(key_id)s)
  and (%(users)s::text[] is null or user_id = any(%(users)s)
       or user_id is null and array_position(%(users)s, null) is not null)

-- name: costs
-- What was taken away to the last is not in the report.
select "user", feature, model, target, key, tag, day, hour, sum(calls)::bigint as calls,
       coalesce(sum(input_tokens), 0)::bigint as input_tokens, coalesce(sum(output_tokens), 0)::bigint as output_tokens,
       coalesce(sum(cost_nanousd), 0)::bigint as cost_nanousd, sum(unknown_cost_calls)::bigint as unknown_cost_calls,
       sum(estimated_attempts)::bigint as estimated_attempts, sum(unconfirmed_attempts)::bigint as unconfirmed_attempts
from (
  select calls, unknown_cost_calls, estimated_attempts, unconfirmed_attempts, input_tokens, output_tokens, cost_nanousd,
         case when 'user' = any(%(by)s) then "user" end as "user",
         case when 'feature' = any(%(by)s) then feature end as feature,
         case when 'model' = any(%(by)s) then model end as model,
         case when 'target' = any(%(by)s) then target end as target,
         case when 'key' = any(%(by)s) then key end as key,
         case when 'tag' = any(%(by)s) then tag end as tag,
         case when 'day' = any(%(by)s) then date_trunc('day', at, 'utc') end as day,
         case when 'hour' = any(%(by)s) then date_trunc('hour', at, 'utc') end as hour
  from ({parts}) part
) part
group by "user", feature, model, target, key, tag, day, hour
having sum(calls) <> 0 or sum(cost_nanousd) <> 0 or sum(unknown_cost_calls) <> 0 or sum(input_tokens) <> 0
    or sum(output_tokens) <> 0
order by cost_nanousd desc, calls desc, "user", feature, model, target, key, tag, day, hour
limit %(limit)s

-- name: dearest_users
-- The dearest users, found without reading all: the dearest of each sealed stretch are looked up in all others, and what is
-- not sealed is read whole, with what no user is named for. Nobody else costs more than `left_out`: the sum of what the last
-- one looked at costs in each part; null: nobody is left out.
with stretches as materialized (
  select whole.grain_s, start as at, sign
  from unnest(%(grains_s)s::int[], %(whole_since)s::timestamptz[], %(whole_until)s::timestamptz[],
              %(whole_signs)s::int[], %(whole_sealed)s::bool[]) as whole (grain_s, since, until, sign, is_sealed)
  cross join lateral (select whole.grain_s * interval '1 second' as length) as grain
  cross join lateral generate_series(whole.since, whole.until - length, length) as start
  where is_sealed
), live as materialized (
  select "user" as name, sum(calls) as calls, sum(unknown_cost_calls) as unknown_calls,
         sum(estimated_attempts) as estimated_attempts, sum(unconfirmed_attempts) as unconfirmed_attempts,
         sum(input_tokens) as input_tokens, sum(output_tokens) as output_tokens,
         coalesce(sum(cost_nanousd), 0) as cost_nanousd
  from ({live_parts}) part
  group by 1
), dearest as materialized (
  select stretches.grain_s, stretches.at, found.*
  from stretches cross join lateral (
    select name, cost_nanousd from sealed_sums
    where tenant_id = %(tenant_id)s and kind = 'user_alone' and grain_s = stretches.grain_s and at = stretches.at
    order by cost_nanousd desc limit %(most)s
  ) found
  where sign > 0
), dearest_live as materialized (
  select name, cost_nanousd from live order by cost_nanousd desc limit %(most)s
), candidates as materialized (
  select name from dearest union select name from dearest_live
)
select name as "user", sum(calls)::bigint as calls, coalesce(sum(input_tokens), 0)::bigint as input_tokens,
       coalesce(sum(output_tokens), 0)::bigint as output_tokens, coalesce(sum(cost_nanousd), 0)::bigint as cost_nanousd,
       sum(unknown_calls)::bigint as unknown_cost_calls, sum(estimated_attempts)::bigint as estimated_attempts,
       sum(unconfirmed_attempts)::bigint as unconfirmed_attempts,
       (select sum(least)::bigint from (
          select min(cost_nanousd) as least from dearest group by grain_s, at having count(*) = %(most)s
          union all
          select greatest(min(cost_nanousd), 0) from dearest_live having count(*) = %(most)s
        ) last) as left_out
from (
  select candidates.name, sign * calls as calls, sign * unknown_calls as unknown_calls,
         sign * estimated_attempts as estimated_attempts, sign * unconfirmed_attempts as unconfirmed_attempts,
         sign * input_tokens as input_tokens, sign * output_tokens as output_tokens, sign * cost_nanousd as cost_nanousd
  from candidates cross join stretches cross join lateral (
    select {user_sums} from sealed_sums
    where tenant_id = %(tenant_id)s and kind = 'user_alone' and grain_s = stretches.grain_s and at = stretches.at
      and sealed_sums.name = candidates.name
    offset 0
  ) sums
  union all
  select name, {user_sums} from live where name is null or name in (select name from candidates where name is not null)
) part
group by name
having sum(calls) <> 0 or sum(cost_nanousd) <> 0 or sum(unknown_calls) <> 0 or sum(input_tokens) <> 0
    or sum(output_tokens) <> 0
order by cost_nanousd desc, calls desc, name
limit %(limit)s

-- name: rank_users
-- What users cost, the dearest first: only that, which is added up in half the time of all else.
select "user", coalesce(sum(cost_nanousd), 0)::bigint as cost_nanousd from ({user_parts}) part
group by 1 order by 2 desc, 1 limit %(limit)s

-- name: dearest_days
-- The dearest days of users: of each sealed day its dearest users, and what is not sealed whole. No other costs more than
-- `left_out`, what the last one looked at costs where there are more; null: none is left out.
with found as materialized (
  select whole_day.at as day, name, cost_nanousd
  from unnest(%(grains_s)s::int[], %(whole_since)s::timestamptz[], %(whole_until)s::timestamptz[],
              %(whole_signs)s::int[], %(whole_sealed)s::bool[]) as whole (grain_s, since, until, sign, is_sealed)
  cross join lateral generate_series(since, until - interval '1 day', interval '1 day') as whole_day (at)
  cross join lateral (
    select name, cost_nanousd from sealed_sums
    where tenant_id = %(tenant_id)s and kind = 'user_alone' and grain_s = 86400 and at = whole_day.at
    order by cost_nanousd desc limit %(limit)s
  ) dearest
  where is_sealed
), most as (
  select day, name from found
  where cost_nanousd >= (select coalesce(min(cost_nanousd), 0) from (
    select cost_nanousd from found order by cost_nanousd desc limit %(limit)s) last)
)
select "user", day, calls::bigint, input_tokens::bigint, output_tokens::bigint, cost_nanousd::bigint,
       unknown_calls::bigint as unknown_cost_calls, estimated_attempts::bigint, unconfirmed_attempts::bigint,
       (select max(least) from (
          select min(cost_nanousd) as least from found group by day having count(*) = %(limit)s) last) as left_out
from (
  select most.name as "user", day, {user_sums}
  from most cross join lateral (
    select {user_sums} from sealed_sums
    where tenant_id = %(tenant_id)s and kind = 'user_alone' and grain_s = 86400 and at = day and name = most.name
    union all
    select {user_sums} from sealed_sums
    where tenant_id = %(tenant_id)s and kind = 'user_alone' and grain_s = 86400 and at = day and name is null
      and most.name is null
    offset 0
  ) sums
  union all
  select "user", date_trunc('day', at, 'utc') as day, sum(calls), sum(unknown_cost_calls), sum(estimated_attempts),
         sum(unconfirmed_attempts), coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0),
         coalesce(sum(cost_nanousd), 0)
  from ({open_parts}) part
  group by 1, 2
) part
where calls <> 0 or cost_nanousd <> 0 or unknown_calls <> 0 or input_tokens <> 0 or output_tokens <> 0
order by cost_nanousd desc, calls desc, "user", day
limit %(limit)s

-- name: spend
select date_bin(%(step)s, at, timestamptz '1970-01-01 00:00:00+00') as at,
       case %(name)s when 'user' then "user" when 'feature' then feature when 'model' then model
                     when 'target' then target when 'key' then key when 'tag' then tag end as name,
       sum(calls)::bigint as calls, coalesce(sum(cost_nanousd), 0)::bigint as cost_nanousd
from ({parts}) part
group by 1, 2
having sum(calls) <> 0 or sum(cost_nanousd) <> 0
order by 1, 4 desc, 2

-- name: unused
select unused as reason, count(*) as attempts, coalesce(sum(cost_nanousd), 0)::bigint as cost_nanousd,
       count(*) filter (where cost_nanousd is null) as unknown_cost_attempts
from ledger_entries
where tenant_id = %(tenant_id)s and unused is not null and at >= %(since)s and at < %(until)s
  and (%(key_id)s::text is null or key_id = %(key_id)s)
group by unused
order by cost_nanousd desc, unused

-- name: tenants
select tenant_id from tenants order by tenant_id

-- name: one_at_a_time
-- So that two who book at once cannot both book one difference.
select pg_advisory_xact_lock(hashtext('backstay.reconcile'))

-- name: adjust
insert into ledger_adjustments (tenant_id, adjustment_id, day, provider, vendor_key, model, source, sink, amount, causes,
                                booked_by)
values (%(tenant_id)s, %(adjustment_id)s, %(day)s, %(provider)s, %(vendor_key)s, %(model)s, %(source)s, %(sink)s,
        %(amount)s, %(causes)s, %(booked_by)s)
on conflict do nothing

-- name: adjustments
select adjustment_id, day, provider, vendor_key, model, causes, booked_at, booked_by,
       case when sink = 'cost' then amount else -amount end as amount_nanousd
from ledger_adjustments
where tenant_id = %(tenant_id)s and day >= %(first)s and day < %(until)s
order by day, provider, vendor_key, model, booked_at, adjustment_id
