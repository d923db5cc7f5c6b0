-- name: merge_entries
-- What LedgerEntry leaves out of its JSON has the default that stands here.
insert into ledger_entries (tenant_id, at, call_id, attempt, trace_id, key_id, user_id, feature, tags, model, target,
                            input_tokens, output_tokens, cost_nanousd, estimated, unconfirmed, price_source, lines)
select doc->>'tenant_id', timestamptz 'epoch' + at_ns / 1000 * interval '1 microsecond', call_id, attempt, trace_id,
       key_id, user_id, feature, coalesce(tags, '{}'), model, target, input_tokens, output_tokens, cost_nanousd,
       coalesce(estimated, false), coalesce(unconfirmed, false), price_source, coalesce(lines, '[]')
from shipment, jsonb_to_recordset(doc->'entries') as entry(
  at_ns bigint, call_id text, attempt smallint, trace_id text, key_id text, user_id text, feature text, tags text[],
  model text, target text, input_tokens bigint, output_tokens bigint, cost_nanousd bigint, estimated boolean,
  unconfirmed boolean, price_source text, lines jsonb)
on conflict do nothing

-- name: entries
select call_id, attempt, (extract(epoch from at) * 1000000)::bigint * 1000 as at_ns, trace_id, key_id, user_id, feature,
       tags, model, target, input_tokens, output_tokens, cost_nanousd, estimated, unconfirmed, price_source, lines
from ledger_entries
where tenant_id = %(tenant_id)s and trace_id = %(trace_id)s
  and (%(key_id)s::text is null or key_id = %(key_id)s)
order by at, call_id, attempt

-- name: earlier_attempts
-- Other attempts of the same call in the same group, so that a call is counted once. All entries of a call have its time
-- and differ by target alone; as further attempts are few, they alone are looked after.
from ledger_entries earlier
where earlier.tenant_id = %(tenant_id)s and earlier.at = entry.at and earlier.call_id = entry.call_id
  and earlier.attempt < entry.attempt and earlier.at >= %(since)s and earlier.at < %(until)s
  and (not %(by_target)s or earlier.target = entry.target)

-- name: costs
select "user", feature, model, target, key, tag, day, hour, count(*) filter (where not is_repeated) as calls,
       coalesce(sum(input_tokens), 0)::bigint as input_tokens, coalesce(sum(output_tokens), 0)::bigint as output_tokens,
       coalesce(sum(cost_nanousd), 0)::bigint as cost_nanousd,
       count(*) filter (where cost_nanousd is null and not is_unknown_repeated) as unknown_cost_calls
from (
  select input_tokens, output_tokens, cost_nanousd,
         case when attempt > 0 then exists (select {earlier_attempts}) else false end as is_repeated,
         case when attempt > 0 then exists (select {earlier_attempts} and earlier.cost_nanousd is null)
              else false end as is_unknown_repeated,
         case when 'user' = any(%(by)s) then user_id end as "user",
         case when 'feature' = any(%(by)s) then feature end as feature,
         case when 'model' = any(%(by)s) then model end as model,
         case when 'target' = any(%(by)s) then target end as target,
         case when 'key' = any(%(by)s) then key_id end as key,
         case when 'day' = any(%(by)s) then date_trunc('day', at, 'utc') end as day,
         case when 'hour' = any(%(by)s) then date_trunc('hour', at, 'utc') end as hour,
         case when 'tag' = any(%(by)s) then tags end as tags
  from ledger_entries entry
  where tenant_id = %(tenant_id)s and at >= %(since)s and at < %(until)s
    and (%(key_id)s::text is null or key_id = %(key_id)s)
) entry
left join lateral unnest(tags) as tag on true
group by "user", feature, model, target, key, tag, day, hour
order by cost_nanousd desc, calls desc, "user", feature, model, target, key, tag, day, hour
limit %(limit)s

-- name: spend
select date_bin(make_interval(secs => %(bucket_s)s), at, %(since)s) as at,
       case %(by)s when 'user' then user_id when 'feature' then feature when 'model' then model
                   when 'target' then target when 'key' then key_id when 'tag' then tag end as name,
       count(*) filter (where case when attempt > 0 then not exists (select {earlier_attempts}) else true end) as calls,
       coalesce(sum(cost_nanousd), 0)::bigint as cost_nanousd
from ledger_entries entry
left join lateral unnest(case when %(by)s = 'tag' then tags end) as tag on true
where tenant_id = %(tenant_id)s and at >= %(since)s and at < %(until)s
  and (%(key_id)s::text is null or key_id = %(key_id)s)
group by 1, 2
order by 1, 4 desc, 2

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
