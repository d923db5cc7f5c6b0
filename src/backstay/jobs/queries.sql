-- Files

-- name: keys_of
-- A key, and those that it was put in the place of: a rotated key goes on with what was theirs.
with recursive mine (key_id) as (
  select %(key_id)s::text
  union
  select keys.key_id from keys join mine on keys.replaced_by = mine.key_id where keys.tenant_id = %(tenant_id)s
)
select key_id from mine

-- name: begin_file
insert into files (tenant_id, file_id, key_id, purpose)
values (%(tenant_id)s, %(file_id)s, %(key_id)s, %(purpose)s)

-- name: add_chunk
insert into file_chunks (tenant_id, file_id, number, data)
values (%(tenant_id)s, %(file_id)s, %(number)s, %(data)s)

-- name: end_file
update files set status = 'processed', filename = %(filename)s, size_bytes = %(size_bytes)s,
  expires_at = created_at + make_interval(secs => %(expires_after_s)s), purpose = coalesce(%(purpose)s, purpose)
where tenant_id = %(tenant_id)s and file_id = %(file_id)s and status = 'writing'
returning file_id, key_id, purpose, filename, size_bytes, created_at, expires_at

-- name: drop_file
delete from files where tenant_id = %(tenant_id)s and file_id = %(file_id)s

-- name: find_file
select file_id, key_id, purpose, filename, size_bytes, created_at, expires_at
from files
where tenant_id = %(tenant_id)s and file_id = %(file_id)s and status = 'processed'
  and (expires_at is null or expires_at > now())
  and (%(key_ids)s::text[] is null or key_id = any(%(key_ids)s))

-- name: list_files
select file_id, key_id, purpose, filename, size_bytes, created_at, expires_at
from files
where tenant_id = %(tenant_id)s and status = 'processed' and (expires_at is null or expires_at > now())
  and (%(key_ids)s::text[] is null or key_id = any(%(key_ids)s))
  and (%(purpose)s::text is null or purpose = %(purpose)s)
  and (%(after)s::text is null or (created_at, file_id) < (
    select created_at, file_id from files where tenant_id = %(tenant_id)s and file_id = %(after)s))
order by created_at desc, file_id desc
limit %(limit)s

-- name: list_files_upwards
select file_id, key_id, purpose, filename, size_bytes, created_at, expires_at
from files
where tenant_id = %(tenant_id)s and status = 'processed' and (expires_at is null or expires_at > now())
  and (%(key_ids)s::text[] is null or key_id = any(%(key_ids)s))
  and (%(purpose)s::text is null or purpose = %(purpose)s)
  and (%(after)s::text is null or (created_at, file_id) > (
    select created_at, file_id from files where tenant_id = %(tenant_id)s and file_id = %(after)s))
order by created_at, file_id
limit %(limit)s

-- name: read_chunk
-- Whether it is the last is told with it: who has all bytes of a download leaves, and would cut a further look off.
select data, not exists (select from file_chunks as later
                         where later.tenant_id = chunk.tenant_id and later.file_id = chunk.file_id
                           and later.number = chunk.number + 1) as is_last
from file_chunks as chunk
where tenant_id = %(tenant_id)s and file_id = %(file_id)s and number = %(number)s

-- name: sweep_files
delete from files where status = 'writing' and created_at < now() - interval '1 day'
  and not exists (select from batches b where b.tenant_id = files.tenant_id
                  and files.file_id in (b.output_file_id, b.error_file_id))

-- name: sweep_expired_files
-- Whose time is over; one that a batch is being read from stays until it is.
delete from files where (tenant_id, file_id) in (
  select tenant_id, file_id from files f
  where expires_at < now() and not exists (
    select from batches b
    where b.tenant_id = f.tenant_id and b.input_file_id = f.file_id and b.status = 'validating')
  limit 100
)

-- Batches

-- name: create_batch
insert into batches (tenant_id, batch_id, key_id, endpoint, input_file_id, completion_window, metadata, expires_at,
                     output_expires_after_s)
values (%(tenant_id)s, %(batch_id)s, %(key_id)s, %(endpoint)s, %(input_file_id)s, %(completion_window)s,
        %(metadata)s::jsonb, now() + make_interval(secs => %(window_s)s), %(output_expires_after_s)s)

-- name: notify
select pg_notify('backstay_jobs', '')

-- name: find_batch
select b.*, coalesce(c.completed, b.completed) as completed, coalesce(c.failed, b.failed) as failed,
       coalesce(c.cost_nanousd, b.cost_nanousd)::bigint as cost_nanousd,
       coalesce(c.unknown_costs, b.unknown_costs)::int as unknown_costs
from batches b
left join lateral (
  select count(*) filter (where state = 'done') as completed, count(*) filter (where state = 'failed') as failed,
         coalesce(sum(cost_nanousd), 0) as cost_nanousd,
         count(*) filter (where state = 'done' and cost_nanousd is null) as unknown_costs
  from job_calls c
  where c.tenant_id = b.tenant_id and c.batch_id = b.batch_id
) c on b.status in ('in_progress', 'finalizing', 'cancelling')
where b.tenant_id = %(tenant_id)s and b.batch_id = %(batch_id)s
  and (%(key_ids)s::text[] is null or b.key_id = any(%(key_ids)s))

-- name: list_batches
select b.*, coalesce(c.completed, b.completed) as completed, coalesce(c.failed, b.failed) as failed,
       coalesce(c.cost_nanousd, b.cost_nanousd)::bigint as cost_nanousd,
       coalesce(c.unknown_costs, b.unknown_costs)::int as unknown_costs
from batches b
left join lateral (
  select count(*) filter (where state = 'done') as completed, count(*) filter (where state = 'failed') as failed,
         coalesce(sum(cost_nanousd), 0) as cost_nanousd,
         count(*) filter (where state = 'done' and cost_nanousd is null) as unknown_costs
  from job_calls c
  where c.tenant_id = b.tenant_id and c.batch_id = b.batch_id
) c on b.status in ('in_progress', 'finalizing', 'cancelling')
where b.tenant_id = %(tenant_id)s
  and (%(key_ids)s::text[] is null or b.key_id = any(%(key_ids)s))
  and (%(after)s::text is null or b.batch_id < %(after)s)
order by b.batch_id desc
limit %(limit)s

-- name: cancel_batch
update batches set status = 'cancelling', cancelling_at = now()
where tenant_id = %(tenant_id)s and batch_id = %(batch_id)s and status in ('validating', 'in_progress')
returning batch_id

-- name: drop_waiting
update job_calls set state = 'cancelled', finished_at = now(), error = %(error)s::jsonb
where tenant_id = %(tenant_id)s and batch_id = %(batch_id)s and state = 'waiting'

-- name: standing
-- How much of a tenant's is open, and which webhooks do not arrive.
select
  (select count(*)::int from batches
   where tenant_id = %(tenant_id)s and status in ('validating', 'in_progress', 'finalizing', 'cancelling')) as batches,
  count(*) filter (where state = 'waiting')::int as waiting,
  count(*) filter (where state = 'running')::int as running,
  (select count(*)::int from job_calls
   where tenant_id = %(tenant_id)s and webhook_state = 'waiting' and webhook_tries > 0 and webhook_error is not null
  ) as late_webhooks
from job_calls
where tenant_id = %(tenant_id)s and state in ('waiting', 'running')

-- Who runs them

-- name: last_beat
select extract(epoch from now() - seen_at)::float8 as ago_s from job_runners where owner = %(owner)s

-- name: beat
insert into job_runners (owner) values (%(owner)s) on conflict (owner) do update set seen_at = now()

-- name: take_back
-- What was under way here before, once all that it left in the journal is shipped.
with mine as (
  update job_calls set state = 'waiting', owner = null
  where owner = %(owner)s and state = 'running'
  returning 1
)
select count(*)::int as calls from mine

-- name: take_over
-- What belongs to runners that were not heard of for too long.
with silent as (
  select owner from job_runners where seen_at < now() - make_interval(secs => %(silence_s)s)
), batch as (
  update batches set owner = null where owner in (select owner from silent)
)
update job_calls set state = 'waiting', owner = null
where state = 'running' and owner in (select owner from silent)

-- name: claim_batch
-- A batch whose file is to be read, or whose results are to be written.
with next as (
  select tenant_id, batch_id from batches b
  where (status in ('validating', 'finalizing')
         or status = 'cancelling' and not exists (
           select from job_calls c
           where c.tenant_id = b.tenant_id and c.batch_id = b.batch_id and c.state in ('waiting', 'running')))
    and (owner is null or owner = %(owner)s)
  order by created_at
  limit 1
  for update skip locked
)
update batches b set owner = %(owner)s,
  status = case when b.status = 'cancelling' then 'finalizing' else b.status end,
  finalizing_at = case when b.status = 'cancelling' then now() else b.finalizing_at end
from next
where b.tenant_id = next.tenant_id and b.batch_id = next.batch_id
returning b.*

-- name: batch_status
select status from batches where tenant_id = %(tenant_id)s and batch_id = %(batch_id)s

-- name: refuse_batch
update batches set status = 'failed', failed_at = now(), errors = %(errors)s::jsonb, owner = null
where tenant_id = %(tenant_id)s and batch_id = %(batch_id)s and status = 'validating'

-- name: drop_lines
delete from job_calls where tenant_id = %(tenant_id)s and batch_id = %(batch_id)s

-- name: keep_failed_lines
-- Of a batch that has ended, the first lines that failed stay for people to look at, without what was asked.
with kept as (
  update job_calls set body = null
  where tenant_id = %(tenant_id)s and job_id in (
    select job_id from job_calls
    where tenant_id = %(tenant_id)s and batch_id = %(batch_id)s and state = 'failed'
    order by line limit %(most)s)
  returning job_id
)
delete from job_calls
where tenant_id = %(tenant_id)s and batch_id = %(batch_id)s and job_id not in (select job_id from kept)

-- name: failed_lines
-- The first of them. Long answers are left out: the error file has them.
select line, custom_id, trace_id, tries, http_status, error,
       case when length(answer) <= 16384 then answer end as answer
from job_calls
where tenant_id = %(tenant_id)s and batch_id = %(batch_id)s and state = 'failed'
order by line
limit %(limit)s

-- name: open_lines
select count(*) filter (where state = 'waiting')::int as waiting, count(*) filter (where state = 'running')::int as running
from job_calls
where tenant_id = %(tenant_id)s and batch_id = %(batch_id)s and state in ('waiting', 'running')

-- name: add_lines
insert into job_calls (tenant_id, job_id, batch_id, line, key_id, custom_id, path, body, terms, state, error,
                       expires_at, trace_id, finished_at)
select %(tenant_id)s, job_id, %(batch_id)s, line, %(key_id)s, custom_id, %(path)s, body, '{}',
       case when error is null then 'waiting' else 'failed' end, error::jsonb, %(expires_at)s, trace_id,
       case when error is not null then now() end
from unnest(%(job_ids)s::text[], %(lines)s::int[], %(custom_ids)s::text[], %(bodies)s::bytea[], %(errors)s::text[],
            %(trace_ids)s::text[]) as t (job_id, line, custom_id, body, error, trace_id)
on conflict (tenant_id, job_id) do nothing

-- name: start_batch
update batches set status = 'in_progress', in_progress_at = now(), total = %(total)s, owner = null
where tenant_id = %(tenant_id)s and batch_id = %(batch_id)s and status = 'validating'

-- name: expire_batches
update batches set expired_at = now() where status = 'in_progress' and expires_at < now() and expired_at is null

-- name: drop_unwanted
-- Lines that wait, of batches that are cancelled or late: also those that were put back since.
update job_calls c
set state = 'cancelled', finished_at = now(),
    error = case when b.status = 'cancelling' then %(cancelled)s::jsonb else %(expired)s::jsonb end
from batches b
where (b.status = 'cancelling' or b.status = 'in_progress' and b.expired_at is not null)
  and c.tenant_id = b.tenant_id and c.batch_id = b.batch_id and c.state = 'waiting'

-- name: close_batches
update batches b set status = 'finalizing', finalizing_at = now()
where status = 'in_progress' and not exists (
  select from job_calls c
  where c.tenant_id = b.tenant_id and c.batch_id = b.batch_id and c.state in ('waiting', 'running'))

-- name: open_batches
select count(*)::int as batches from batches where status in ('validating', 'in_progress', 'finalizing', 'cancelling')

-- name: read_results
select job_id, line, custom_id, state, http_status, answer, error, trace_id
from job_calls
where tenant_id = %(tenant_id)s and batch_id = %(batch_id)s and line > %(after)s
order by line
limit %(limit)s

-- name: finish_batch
update batches set
  status = case when cancelling_at is not null then 'cancelled' when expired_at is not null then 'expired'
                else 'completed' end,
  cancelled_at = case when cancelling_at is not null then now() end,
  completed_at = case when cancelling_at is null and expired_at is null then now() end,
  output_file_id = %(output_file_id)s, error_file_id = %(error_file_id)s,
  completed = %(completed)s, failed = %(failed)s, model = %(model)s, usage = %(usage)s::jsonb, owner = null,
  (cost_nanousd, unknown_costs) = (
    select coalesce(sum(entry.cost_nanousd), 0), count(*) filter (where entry.cost_nanousd is null)
    from job_calls c
    join ledger_entries entry on entry.tenant_id = c.tenant_id and entry.trace_id = c.trace_id
    where c.tenant_id = batches.tenant_id and c.batch_id = batches.batch_id
      and entry.at >= now() - interval '3 days')
where tenant_id = %(tenant_id)s and batch_id = %(batch_id)s and status = 'finalizing'

-- Calls

-- name: claim_calls
-- Some calls that are due, as many of each batch and of each key's single calls; those of keys that have reached a limit
-- wait. Locked rows are another runner's at this moment.
with queues as materialized (
  select tenant_id, key_id, batch_id from batches where status = 'in_progress'
  union all
  select distinct tenant_id, key_id, null::text from job_calls
  where batch_id is null and state = 'waiting' and due_at <= now()
), open as materialized (
  select * from queues where tenant_id || '/' || key_id <> all(%(paused)s::text[])
), share as (
  select greatest(1, %(most)s / greatest(1, (select count(*) from open)))::int as calls
), picked as (
  select l.tenant_id, l.job_id
  from open cross join share cross join lateral (
    select c.tenant_id, c.job_id from job_calls c
    where c.tenant_id = open.tenant_id and c.batch_id = open.batch_id and c.state = 'waiting' and c.due_at <= now()
    order by c.line limit share.calls for update skip locked
  ) l
  where open.batch_id is not null
  union all
  select l.tenant_id, l.job_id
  from open cross join share cross join lateral (
    select c.tenant_id, c.job_id from job_calls c
    where c.tenant_id = open.tenant_id and c.key_id = open.key_id and c.batch_id is null and c.state = 'waiting'
      and c.due_at <= now()
    order by c.due_at limit share.calls for update skip locked
  ) l
  where open.batch_id is null
), some_picked as (
  select * from picked limit %(most)s
)
update job_calls c set state = 'running', owner = %(owner)s, tries = tries + 1
from some_picked p
where c.tenant_id = p.tenant_id and c.job_id = p.job_id
returning c.tenant_id, c.job_id, c.key_id, c.batch_id, c.path, c.body, c.terms, c.trace_id, c.tries,
          extract(epoch from c.expires_at - now())::float8 as left_s

-- name: next_due
-- When the next call that waits for its time is due, in seconds from now.
select extract(epoch from min(due_at) - now())::float8 as in_s from job_calls where state = 'waiting'

-- name: backlog
-- What is open, of all tenants. Each count is of one partial index alone.
with waiting as (
  select count(*)::int as calls, extract(epoch from now() - min(due_at))::float8 as overdue_s
  from job_calls where state = 'waiting'
), waiting_single as (
  select count(*)::int as calls from job_calls where batch_id is null and state = 'waiting'
), running as (
  select count(*)::int as calls, count(*) filter (where batch_id is null)::int as single
  from job_calls where state = 'running'
)
select waiting.calls - waiting_single.calls as waiting_lines, waiting_single.calls as waiting_calls,
       running.calls - running.single as running_lines, running.single as running_calls,
       greatest(waiting.overdue_s, 0) as overdue_s,
       (select count(*)::int from job_calls where webhook_state = 'waiting') as waiting_webhooks
from waiting, waiting_single, running

-- name: put_back
update job_calls set state = 'waiting', owner = null, due_at = now() + make_interval(secs => %(after_s)s),
  tries = tries - %(uncounted)s
where tenant_id = %(tenant_id)s and job_id = %(job_id)s and owner = %(owner)s and state = 'running'

-- name: fail_call
update job_calls set state = 'failed', owner = null, finished_at = now(), http_status = %(http_status)s,
  answer = %(answer)s, error = %(error)s::jsonb,
  webhook_state = case when webhook_url is not null then 'waiting' end, webhook_due_at = now()
where tenant_id = %(tenant_id)s and job_id = %(job_id)s and owner = %(owner)s and state = 'running'

-- name: merge_jobs
-- Answers that came by the journal. One that is there already stays.
with told as materialized (
  select doc->>'tenant_id' as tenant_id, doc->'job'->>'job_id' as job_id, doc->'job'->>'answer' as answer,
         (select case when not bool_or(entry->'cost_nanousd' = 'null') then sum((entry->>'cost_nanousd')::bigint)
                      when count(*) = 0 then 0 end
          from jsonb_array_elements(doc->'entries') entry) as cost_nanousd
  from shipment
  where doc->'job' is not null
  order by 1, 2
), done as (
  update job_calls c
  set state = 'done', owner = null, http_status = 200, answer = decode(told.answer, 'base64'), finished_at = now(),
      cost_nanousd = told.cost_nanousd,
      webhook_state = case when webhook_url is not null then 'waiting' end, webhook_due_at = now()
  from told
  where c.tenant_id = told.tenant_id and c.job_id = told.job_id and c.state in ('running', 'waiting')
  returning 1
)
select pg_notify('backstay_jobs', '') where exists (select from done)

-- Single calls

-- name: lock_takes
-- One call of a tenant is taken in after the other, so that what is counted includes all that were taken before: each
-- statement sees what was committed when it began.
select pg_advisory_xact_lock(hashtextextended('backstay take_call ' || %(tenant_id)s, 0))

-- name: take_call
-- Unless the key or the tenant has as many unfinished ones as it may.
insert into job_calls (tenant_id, job_id, key_id, path, body, terms, trace_id, expires_at, webhook_url)
select %(tenant_id)s, %(job_id)s, %(key_id)s, %(path)s, %(body)s, %(terms)s::jsonb, %(trace_id)s,
       now() + make_interval(secs => %(within_s)s), %(webhook_url)s
where (select count(*) from job_calls
       where tenant_id = %(tenant_id)s and key_id = %(key_id)s and batch_id is null and state in ('waiting', 'running')
      ) < %(per_key)s
  and (select count(*) from job_calls
       where tenant_id = %(tenant_id)s and batch_id is null and state in ('waiting', 'running')) < %(per_tenant)s
on conflict (tenant_id, job_id) do nothing

-- name: unfinished
select count(*) filter (where key_id = %(key_id)s)::int as per_key, count(*)::int as per_tenant
from job_calls
where tenant_id = %(tenant_id)s and batch_id is null and state in ('waiting', 'running')

-- name: look_at_call
select job_id, state, path = %(path)s and body = %(body)s as is_same
from job_calls
where tenant_id = %(tenant_id)s and job_id = %(job_id)s

-- name: find_call
select job_id, path, state, trace_id, http_status, answer, error, webhook_url, webhook_state, webhook_tries,
       webhook_error, created_at, finished_at
from job_calls
where tenant_id = %(tenant_id)s and job_id = %(job_id)s and batch_id is null
  and (%(key_ids)s::text[] is null or key_id = any(%(key_ids)s))

-- name: list_calls
-- Single calls of all that the caller may see, the newest first. Answers are left out, but for short ones of failures.
select job_id, path, state, trace_id, key_id, http_status, error, webhook_url, webhook_state, webhook_tries,
       webhook_error, webhook_due_at, tries, cost_nanousd, created_at, finished_at,
       case when state = 'failed' and length(answer) <= 16384 then answer end as answer
from job_calls
where tenant_id = %(tenant_id)s and batch_id is null
  and (%(key_ids)s::text[] is null or key_id = any(%(key_ids)s))
  and (%(after)s::text is null or (created_at, job_id) < (
    select created_at, job_id from job_calls where tenant_id = %(tenant_id)s and job_id = %(after)s))
order by created_at desc, job_id desc
limit %(limit)s

-- name: sweep_lines
delete from job_calls
where (tenant_id, job_id) in (
  select tenant_id, job_id from job_calls
  where batch_id is not null and state = 'failed' and finished_at < now() - interval '30 days'
  limit 1000
)

-- name: sweep_calls
delete from job_calls
where (tenant_id, job_id) in (
  select tenant_id, job_id from job_calls
  where batch_id is null and finished_at < now() - interval '7 days'
  limit 1000
)

-- Webhooks

-- name: renew_secret
insert into webhook_secrets (tenant_id, salt) values (%(tenant_id)s, %(salt)s)
on conflict (tenant_id) do update
set earlier_salt = webhook_secrets.salt, earlier_until = now() + make_interval(secs => %(earlier_s)s),
    salt = excluded.salt, made_at = now()

-- name: find_secret
select salt from webhook_secrets where tenant_id = %(tenant_id)s

-- name: claim_webhooks
-- Those that are due. One that is being tried is due again when its try must be over, should its process die.
-- Who has the fewest under way is next, and nobody has more than a part of all: receivers that take their time hold up
-- their own tenant alone.
with busy as (
  select tenant_id, count(*) as under_way from unnest(%(busy)s::text[]) as tenant_id group by tenant_id
), turns as (
  select tenant_id, job_id, webhook_due_at,
         coalesce(under_way, 0) + row_number() over (partition by tenant_id order by webhook_due_at) as turn
  from job_calls left join busy using (tenant_id)
  where webhook_state = 'waiting' and webhook_due_at <= now()
  order by turn, webhook_due_at
  limit %(most)s
), due as (
  select tenant_id, job_id from job_calls join turns using (tenant_id, job_id)
  where job_calls.webhook_due_at = turns.webhook_due_at and turn <= %(of_one_tenant)s
  for update of job_calls skip locked
)
update job_calls c
set webhook_tries = webhook_tries + 1, webhook_due_at = now() + make_interval(secs => %(lease_s)s)
from due join webhook_secrets s using (tenant_id)
where c.tenant_id = due.tenant_id and c.job_id = due.job_id
returning c.tenant_id, c.job_id, c.path, c.state, c.trace_id, c.http_status, c.answer, c.error, c.webhook_url,
          c.webhook_state, c.webhook_tries, c.webhook_error, c.created_at, c.finished_at,
          array_remove(array[s.salt, case when s.earlier_until > now() then s.earlier_salt end], null) as salts

-- name: next_webhook
select extract(epoch from min(webhook_due_at) - now())::float8 as in_s from job_calls where webhook_state = 'waiting'

-- name: end_webhook
update job_calls
set webhook_state = %(state)s, webhook_error = %(problem)s,
    webhook_due_at = now() + make_interval(secs => %(pause_s)s)
where tenant_id = %(tenant_id)s and job_id = %(job_id)s
