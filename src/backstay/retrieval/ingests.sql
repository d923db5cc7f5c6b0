-- Ingests: what is to be taken into a collection, and what became of it

-- name: begin
insert into ingests (tenant_id, ingest_id, collection, key_id, principals, metadata)
values (%(tenant_id)s, %(ingest_id)s, %(collection)s, %(key_id)s, %(principals)s, %(metadata)s);

-- name: find_open
-- Locks it, so that it is not closed while something is added.
select collection, closed_at is null and problem is null as is_open from ingests
where tenant_id = %(tenant_id)s and ingest_id = %(ingest_id)s for share;

-- name: waiting_bytes
select coalesce(sum(size_bytes), 0)::bigint as size_bytes from ingest_items
where tenant_id = %(tenant_id)s and state in ('waiting', 'running');

-- name: touch
update ingests set touched_at = now() where tenant_id = %(tenant_id)s and ingest_id = %(ingest_id)s;

-- name: drop_item
delete from ingest_items
where tenant_id = %(tenant_id)s and ingest_id = %(ingest_id)s and external_id = %(external_id)s;

-- name: begin_item
insert into ingest_items (tenant_id, ingest_id, external_id)
values (%(tenant_id)s, %(ingest_id)s, %(external_id)s);

-- name: add_urls
insert into ingest_items (tenant_id, ingest_id, external_id, url, state)
select %(tenant_id)s, %(ingest_id)s, url, url, 'waiting' from unnest(%(urls)s::text[]) as told(url)
on conflict do nothing;

-- name: add_piece
insert into ingest_pieces (tenant_id, ingest_id, external_id, number, data)
values (%(tenant_id)s, %(ingest_id)s, %(external_id)s, %(number)s, %(data)s);

-- name: end_item
update ingest_items set state = 'waiting', size_bytes = %(size_bytes)s, content_hash = %(content_hash)s, due_at = now()
where tenant_id = %(tenant_id)s and ingest_id = %(ingest_id)s and external_id = %(external_id)s and state = 'writing'
returning external_id;

-- name: notify
select pg_notify('backstay_retrieval', '');

-- name: close
-- What is still being written will not be whole.
with closed as (
  update ingests set closed_at = coalesce(closed_at, now())
  where tenant_id = %(tenant_id)s and ingest_id = %(ingest_id)s
  returning tenant_id, ingest_id
)
update ingest_items set state = 'failed', problem = 'It did not arrive whole. Send it again.'
where (tenant_id, ingest_id) in (select * from closed) and state = 'writing';

-- name: close_forgotten
update ingests set closed_at = now()
where closed_at is null and touched_at < now() - interval '1 hour';

-- name: cancel
with closed as (
  update ingests set closed_at = coalesce(closed_at, now())
  where tenant_id = %(tenant_id)s and ingest_id = %(ingest_id)s
  returning tenant_id, ingest_id
), unwanted as (
  update ingest_items set state = 'cancelled'
  where (tenant_id, ingest_id) in (select * from closed) and state in ('writing', 'waiting', 'running')
  returning external_id
)
delete from ingest_pieces
where (tenant_id, ingest_id) in (select * from closed) and external_id in (select external_id from unwanted);

-- name: views
select i.ingest_id as id, i.collection, i.problem, i.created_at, i.closed_at, i.embedded, counts.*,
  case when i.problem is not null then 'failed' when closed_at is null then 'open'
       when waiting + running + writing > 0 then 'running' when cancelled > 0 then 'cancelled' else 'done' end as state
from ingests i, lateral (
  select count(*) as items, count(*) filter (where state = 'writing') as writing,
    count(*) filter (where state = 'waiting') as waiting, count(*) filter (where state = 'running') as running,
    count(*) filter (where state = 'added') as added, count(*) filter (where state = 'changed') as changed,
    count(*) filter (where state = 'unchanged') as unchanged,
    count(*) filter (where state = 'unreadable') as unreadable, count(*) filter (where state = 'failed') as failed,
    count(*) filter (where state = 'cancelled') as cancelled, coalesce(sum(chunks), 0)::bigint as chunks,
    coalesce(sum(size_bytes), 0)::bigint as size_bytes
  from ingest_items t where t.tenant_id = i.tenant_id and t.ingest_id = i.ingest_id) counts
where i.tenant_id = %(tenant_id)s and (%(ingest_id)s::text is null or i.ingest_id = %(ingest_id)s)
  and (%(collection)s::text is null or i.collection = %(collection)s)
order by i.created_at desc limit %(limit)s;

-- name: is_served
-- Whether a process that runs jobs was heard of.
select exists (select from job_runners where seen_at > now() - interval '2 minutes') as is_served;

-- name: items
select external_id, url, size_bytes, state, problem, chunks, tries from ingest_items
where tenant_id = %(tenant_id)s and ingest_id = %(ingest_id)s and external_id > %(after)s
  and (%(states)s::text[] is null or state = any(%(states)s))
order by external_id limit %(limit)s;

-- name: take_back
update ingest_items set state = 'waiting', owner = null where state = 'running' and owner = %(owner)s;

-- name: beat
-- What is under way here is, and what was under way where nobody is heard of waits again.
with mine as (
  update ingest_items set seen_at = now() where state = 'running' and owner = %(owner)s
)
update ingest_items set state = 'waiting', owner = null
where state = 'running' and owner <> %(owner)s and seen_at < now() - make_interval(secs => %(silence_s)s);

-- name: claim
-- Some items of the ingest that was served longest ago, so many that they are not too large together. What is a file of a
-- vector store is said there: its name, its attributes, and who may read it.
with next as (
  select tenant_id, ingest_id from ingests i
  where exists (select from ingest_items t where t.tenant_id = i.tenant_id and t.ingest_id = i.ingest_id
                and t.state = 'waiting' and t.due_at <= now())
  order by served_at nulls first, created_at limit 1
  for update skip locked
), served as (
  update ingests i set served_at = clock_timestamp() from next
  where i.tenant_id = next.tenant_id and i.ingest_id = next.ingest_id
  returning i.tenant_id, i.ingest_id, i.collection, i.key_id, i.principals, i.metadata
), due as (
  select external_id, sum(size_bytes) over (order by due_at, external_id) - size_bytes as before
  from (
    select external_id, size_bytes, due_at from ingest_items join served using (tenant_id, ingest_id)
    where state = 'waiting' and due_at <= now() order by due_at, external_id limit %(limit)s) few
)
update ingest_items t set state = 'running', owner = %(owner)s, seen_at = now(), tries = tries + 1
from served cross join due left join retrieval_vector_files f on f.tenant_id = served.tenant_id
  and f.collection = served.collection and f.file_id = due.external_id and f.ingest_id = served.ingest_id
where t.tenant_id = served.tenant_id and t.ingest_id = served.ingest_id and t.external_id = due.external_id
  and t.state = 'waiting' and due.before < %(most_bytes)s
returning t.tenant_id, t.ingest_id, t.external_id, t.url, t.content_hash, t.size_bytes, t.tries,
  served.collection, served.key_id, f.filename,
  case when f.file_id is null then served.principals else f.principals end as principals,
  case when f.file_id is null then served.metadata else f.attributes end as metadata;

-- name: piece
select data from ingest_pieces
where tenant_id = %(tenant_id)s and ingest_id = %(ingest_id)s and external_id = %(external_id)s
  and number = %(number)s;

-- name: hold
-- Locks those items that are still wanted of their worker, until the transaction ends.
select external_id from ingest_items
where tenant_id = %(tenant_id)s and ingest_id = %(ingest_id)s and external_id = any(%(external_id)s::text[])
  and state = 'running' order by external_id for update;

-- name: end
-- What became of items; of a vector store's files in OpenAI's words.
with ended as (
  update ingest_items t set state = told.state, problem = told.problem, chunks = told.chunks, owner = null
  from unnest(%(external_id)s::text[], %(state)s::text[], %(problem)s::text[], %(chunks)s::int[],
      %(is_gone)s::bool[]) as told(external_id, state, problem, chunks, is_gone)
  where t.tenant_id = %(tenant_id)s and t.ingest_id = %(ingest_id)s and t.external_id = told.external_id
    and t.state = 'running'
  returning t.external_id, t.state, t.problem, told.is_gone
), told as (
  update retrieval_vector_files f
  set status = case when ended.state in ('unreadable', 'failed') then 'failed' else 'completed' end,
    error = ended.problem,
    error_code = case when ended.is_gone then 'invalid_file' when ended.state = 'unreadable' then 'unsupported_file'
      when ended.state = 'failed' then 'server_error' end
  from ended
  where f.tenant_id = %(tenant_id)s and f.collection = %(collection)s and f.file_id = ended.external_id
    and f.ingest_id = %(ingest_id)s
)
delete from ingest_pieces
where tenant_id = %(tenant_id)s and ingest_id = %(ingest_id)s and external_id = any(%(external_id)s::text[]);

-- name: embedded
update ingests set embedded = embedded + %(embedded)s
where tenant_id = %(tenant_id)s and ingest_id = %(ingest_id)s;

-- name: put_back
update ingest_items
set state = 'waiting', owner = null, due_at = now() + make_interval(secs => %(pause_s)s), problem = %(problem)s,
  tries = tries - %(uncounted)s
where tenant_id = %(tenant_id)s and ingest_id = %(ingest_id)s and external_id = any(%(external_id)s::text[])
  and state = 'running';

-- name: fail_all
-- There is nothing to be taken into any more.
with gone as (
  update ingests set problem = %(problem)s, closed_at = coalesce(closed_at, now())
  where tenant_id = %(tenant_id)s and ingest_id = %(ingest_id)s
), unwanted as (
  update ingest_items set state = 'failed', problem = %(problem)s, owner = null
  where tenant_id = %(tenant_id)s and ingest_id = %(ingest_id)s and state in ('writing', 'waiting', 'running')
)
delete from ingest_pieces where tenant_id = %(tenant_id)s and ingest_id = %(ingest_id)s;

-- name: sweep
delete from ingests where created_at < now() - interval '30 days';
