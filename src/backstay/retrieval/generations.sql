-- Generations of a collection: the live one, and one beside it at most

-- name: generations
select c.tenant_id, collection as name, settings, changes, generation, chunking, embedding_model, language, c.created_at
from retrieval_collections c join retrieval_generations using (tenant_id, collection)
where c.tenant_id = %(tenant_id)s and collection = %(collection)s
order by state = 'live' desc;

-- name: views
select generation, state, embedding_model, chunking, g.created_at, built_at, retired_at, problem,
  (select count(*) from retrieval_documents d where d.tenant_id = g.tenant_id and d.collection = g.collection)
    as documents,
  (select count(*) from retrieval_documents d where d.tenant_id = g.tenant_id and d.collection = g.collection
   and (g.built_at is not null or g.state = 'live' or d.document_id <= g.reached)) as done
from retrieval_generations g
where tenant_id = %(tenant_id)s and collection = %(collection)s
order by state = 'live' desc;

-- name: start
-- Unless there is one beside the live one already; the collection is locked.
insert into retrieval_generations
  (tenant_id, collection, chunking, embedding_model, language, terms_version, state, key_id)
select tenant_id, collection, %(chunking)s, %(embedding_model)s, language, %(terms_version)s, 'building', %(key_id)s
from retrieval_generations
where tenant_id = %(tenant_id)s and collection = %(collection)s and state = 'live'
  and not exists (select from retrieval_generations
                  where tenant_id = %(tenant_id)s and collection = %(collection)s and state <> 'live')
returning generation;

-- name: notify
select pg_notify('backstay_retrieval', '');

-- name: claim
-- One that is to be built, and is nobody's, or ours, or of somebody who is silent.
with next as (
  select tenant_id, generation from retrieval_generations
  where state <> 'live' and built_at is null and due_at <= now()
    and (owner is null or owner = %(owner)s or seen_at < now() - make_interval(secs => %(silence_s)s))
  order by due_at limit 1
  for update skip locked
)
update retrieval_generations g set owner = %(owner)s, seen_at = now(), due_at = now()
from next where g.tenant_id = next.tenant_id and g.generation = next.generation
returning g.tenant_id, g.collection, g.generation, g.key_id, g.reached;

-- name: missing
-- Documents that the live generation has chunks of, and this one none: a document of blanks has none in either.
select document_id, external_id, encode(content_hash, 'hex') as content_hash, title, media_type, principals,
  body as text, page_starts
from retrieval_documents d
where tenant_id = %(tenant_id)s and collection = %(collection)s and document_id > %(reached)s
  and exists (select from retrieval_chunks k join retrieval_generations g using (tenant_id, generation)
              where k.tenant_id = d.tenant_id and k.document_id = d.document_id and g.state = 'live')
  and not exists (select from retrieval_chunks k where k.tenant_id = d.tenant_id and k.document_id = d.document_id
                  and k.generation = %(generation)s)
order by document_id limit %(limit)s;

-- name: still
-- Those of some documents that are as they were read. Read under the collection's lock.
select document_id from retrieval_documents
where tenant_id = %(tenant_id)s and document_id = any(%(document_ids)s)
  and encode(content_hash, 'hex') = any(%(content_hashes)s)
  and not exists (select from retrieval_chunks k where k.tenant_id = retrieval_documents.tenant_id
                  and k.document_id = retrieval_documents.document_id and k.generation = %(generation)s);

-- name: reach
update retrieval_generations set reached = %(reached)s, seen_at = now(), problem = null
where tenant_id = %(tenant_id)s and generation = %(generation)s
returning generation;

-- name: built
update retrieval_generations set built_at = now(), problem = null, owner = null
where tenant_id = %(tenant_id)s and generation = %(generation)s;

-- name: unbuilt
-- What was written into the live generation alone is to be built again from the start; what is there is left as it is.
update retrieval_generations set built_at = null, reached = 0, due_at = now()
where tenant_id = %(tenant_id)s and generation = %(generation)s;

-- name: fail
update retrieval_generations
set problem = %(problem)s, due_at = now() + make_interval(secs => %(pause_s)s), seen_at = now()
where tenant_id = %(tenant_id)s and generation = %(generation)s;

-- name: retire
update retrieval_generations set state = 'retired', built_at = now(), retired_at = now()
where tenant_id = %(tenant_id)s and collection = %(collection)s and state = 'live'
returning generation;

-- name: begin
update retrieval_generations set state = 'live', retired_at = null
where tenant_id = %(tenant_id)s and generation = %(generation)s;

-- name: drop
delete from retrieval_generations
where tenant_id = %(tenant_id)s and collection = %(collection)s and state <> 'live'
returning generation;

-- name: drop_retired
delete from retrieval_generations where state = 'retired' and retired_at < now() - make_interval(days => %(days)s)
returning generation;

-- name: note_queries
insert into retrieval_recent_queries (tenant_id, collection, query_hash, query, terms)
select tenant_id, collection, sha256(convert_to(query || terms, 'UTF8')), query, terms::jsonb
from unnest(%(tenant_id)s::text[], %(collection)s::text[], %(query)s::text[], %(terms)s::text[])
  as asked(tenant_id, collection, query, terms)
where exists (select from retrieval_collections c
              where c.tenant_id = asked.tenant_id and c.collection = asked.collection for key share)
on conflict (tenant_id, collection, query_hash) do update set asked_at = now();

-- name: forget_queries
-- Of the collections that something was noted of, all but the last.
with noted as (
  select distinct tenant_id, collection
  from unnest(%(tenant_id)s::text[], %(collection)s::text[]) as told(tenant_id, collection)
), kept as (
  select tenant_id, collection, (
    select asked_at from retrieval_recent_queries q
    where q.tenant_id = noted.tenant_id and q.collection = noted.collection
    order by asked_at desc offset %(most)s limit 1) as until
  from noted
)
delete from retrieval_recent_queries q using kept
where q.tenant_id = kept.tenant_id and q.collection = kept.collection and q.asked_at <= kept.until;

-- name: forget_old_queries
delete from retrieval_recent_queries where asked_at < now() - interval '7 days';

-- name: recent_queries
-- A filter that is a text was written by an older version.
select query, terms from retrieval_recent_queries
where tenant_id = %(tenant_id)s and collection = %(collection)s
  and coalesce(jsonb_typeof(terms -> 'filter') <> 'string', true)
order by asked_at desc limit %(limit)s;
