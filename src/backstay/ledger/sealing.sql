-- name: due
-- Stretches that are over for a while and not sealed, the shorter ones first, as the longer are made of them.
select tenant_id, grain_s, at
from sealed_stretches
where not is_sealed and at + grain_s * interval '1 second' <= coalesce(%(now)s::timestamptz, now()) - %(settled)s
order by grain_s, at, tenant_id
limit %(limit)s

-- name: lock
-- Until the end, no entry of an earlier hour is inserted: those that are, are committed, and seen from the next statement on.
select pg_advisory_xact_lock(hashtext('backstay.seal'), hashtext(%(tenant_id)s))

-- name: is_whole
-- What it is made of is sealed.
select not exists (
  select from sealed_stretches
  where tenant_id = %(tenant_id)s and grain_s < %(grain_s)s and at >= %(at)s and at < %(until)s and not is_sealed
) as is_whole

-- name: forget
delete from sealed_sums where tenant_id = %(tenant_id)s and grain_s = %(grain_s)s and at = %(at)s

-- name: seal_users
-- Weeks are made of days, and four weeks of weeks.
insert into sealed_sums (tenant_id, kind, grain_s, at, name, model, target, feature, key_id, calls, target_calls,
                         unknown_calls, target_unknown_calls, estimated_attempts, unconfirmed_attempts, input_tokens,
                         output_tokens, cost_nanousd)
select %(tenant_id)s, 'user', %(grain_s)s, %(at)s, name, model, target, feature, key_id, sum(calls), sum(target_calls),
       sum(unknown_calls), sum(target_unknown_calls), sum(estimated_attempts), sum(unconfirmed_attempts),
       sum(input_tokens), sum(output_tokens), sum(cost_nanousd)
from (
  select name, model, target, feature, key_id, calls, target_calls, unknown_calls, target_unknown_calls,
         estimated_attempts, unconfirmed_attempts, input_tokens, output_tokens, cost_nanousd
  from cost_rollups
  where %(grain_s)s = 604800 and tenant_id = %(tenant_id)s and kind = 'user' and grain_s = 86400
    and at >= %(at)s and at < %(until)s
  union all
  select name, model, target, feature, key_id, calls, target_calls, unknown_calls, target_unknown_calls,
         estimated_attempts, unconfirmed_attempts, input_tokens, output_tokens, cost_nanousd
  from sealed_sums
  where %(grain_s)s = 2419200 and tenant_id = %(tenant_id)s and kind = 'user' and grain_s = 604800
    and at >= %(at)s and at < %(until)s
) part
group by name, model, target, feature, key_id
order by name, model, target, feature, key_id

-- name: seal_users_alone
insert into sealed_sums (tenant_id, kind, grain_s, at, name, calls, unknown_calls, estimated_attempts,
                         unconfirmed_attempts, input_tokens, output_tokens, cost_nanousd)
select %(tenant_id)s, 'user_alone', %(grain_s)s, %(at)s, name, sum(calls), sum(unknown_calls), sum(estimated_attempts),
       sum(unconfirmed_attempts), sum(input_tokens), sum(output_tokens), sum(cost_nanousd)
from (
  select * from user_days
  where %(grain_s)s = 86400 and tenant_id = %(tenant_id)s and at = %(at)s
  union all
  select * from user_weeks
  where %(grain_s)s >= 604800 and tenant_id = %(tenant_id)s and at >= %(at)s and at < %(until)s
) part
group by name
order by name

-- name: seal_tags
-- Hours are made of entries, all else of what is sealed. A call with several tags counts under each of them.
insert into sealed_sums (tenant_id, kind, grain_s, at, tag, name, calls, unknown_calls, estimated_attempts,
                         unconfirmed_attempts, input_tokens, output_tokens, cost_nanousd)
select %(tenant_id)s, 'tag_user', %(grain_s)s, %(at)s, tag, name, sum(calls), sum(unknown_calls),
       sum(estimated_attempts), sum(unconfirmed_attempts), coalesce(sum(input_tokens), 0),
       coalesce(sum(output_tokens), 0), coalesce(sum(cost_nanousd), 0)
from (
  select tag, name, calls, unknown_calls, estimated_attempts, unconfirmed_attempts, input_tokens, output_tokens,
         cost_nanousd
  from sealed_sums
  where %(part_s)s > 0 and tenant_id = %(tenant_id)s and kind = 'tag_user' and grain_s = %(part_s)s
    and at >= %(at)s and at < %(until)s
  {edges}
) part
group by tag, name
order by tag, name

-- name: hour_of_tags
union all
select tag, user_id,
       case when attempt > 0 then not exists (
         select from ledger_entries earlier
         where earlier.tenant_id = %(tenant_id)s and earlier.at = entry.at and earlier.call_id = entry.call_id
           and earlier.attempt < entry.attempt and earlier.at >= %(at)s and earlier.at < %(until)s) else true end::int,
       case when cost_nanousd is not null then false
            when attempt > 0 then not exists (
              select from ledger_entries earlier
              where earlier.tenant_id = %(tenant_id)s and earlier.at = entry.at and earlier.call_id = entry.call_id
                and earlier.attempt < entry.attempt and earlier.at >= %(at)s and earlier.at < %(until)s
                and earlier.cost_nanousd is null)
            else true end::int,
       estimated::int, unconfirmed::int, input_tokens, output_tokens, cost_nanousd
from ledger_entries entry
left join lateral unnest(tags) as tag on true
where entry.tenant_id = %(tenant_id)s and entry.at >= %(at)s and entry.at < %(until)s

-- name: sealed
update sealed_stretches set is_sealed = true where tenant_id = %(tenant_id)s and grain_s = %(grain_s)s and at = %(at)s

-- name: open
-- Stretches that touch some time and hold what is not sealed: the others are sealed, or have no entry.
select grain_s, at
from sealed_stretches
where tenant_id = %(tenant_id)s and not is_sealed
