-- name: ensure
select ensure_retrieval() as is_there;

-- name: read_for
select set_config('backstay.principals', %(principals)s, true);

-- name: keep_documents
select set_config('backstay.keeps_documents', 'on', true);

-- name: create_collection
insert into retrieval_collections (tenant_id, collection, settings)
values (%(tenant_id)s, %(collection)s, %(settings)s)
on conflict do nothing
returning collection;

-- name: begin_generation
insert into retrieval_generations (tenant_id, collection, chunking, embedding_model, language, terms_version, state)
values (%(tenant_id)s, %(collection)s, %(chunking)s, %(embedding_model)s, %(language)s, %(terms_version)s, 'live');

-- name: collection
select c.tenant_id, collection as name, settings, changes, generation, chunking, embedding_model, language, c.created_at,
  k.relevance
from retrieval_collections c join retrieval_generations using (tenant_id, collection)
left join retrieval_calibrations k using (tenant_id, generation)
where c.tenant_id = %(tenant_id)s and collection = %(collection)s and state = 'live';

-- name: views
-- Sizes in bytes, as to count characters every text would have to be read.
select c.collection as name, settings ->> 'answer_model' as answer_model,
  (select calibrated_at from retrieval_calibrations r where r.tenant_id = c.tenant_id and r.generation = g.generation),
  coalesce((settings ->> 'wrong_answers')::float8, 0.1) as wrong_answers,
  coalesce(settings ->> 'unsupported', 'mark') as unsupported,
  coalesce(settings -> 'ranking', '{}') as ranking, chunking, embedding_model, language,
  generation, c.created_at, count(d.document_id) as documents, coalesce(sum(octet_length(d.body)), 0)::bigint as size_bytes,
  (select count(*) from retrieval_chunks k where k.tenant_id = c.tenant_id and k.generation = g.generation) as chunks
from retrieval_collections c
join retrieval_generations g on g.tenant_id = c.tenant_id and g.collection = c.collection and state = 'live'
left join retrieval_documents d on d.tenant_id = c.tenant_id and d.collection = c.collection
where c.tenant_id = %(tenant_id)s and (%(collection)s::text is null or c.collection = %(collection)s)
group by c.tenant_id, c.collection, settings, chunking, embedding_model, language, g.generation, c.created_at
order by c.collection;

-- name: change_settings
update retrieval_collections set settings = settings || %(changes)s::jsonb
where tenant_id = %(tenant_id)s and collection = %(collection)s returning collection;

-- name: delete_collection
delete from retrieval_collections where tenant_id = %(tenant_id)s and collection = %(collection)s returning collection;

-- name: set_language
update retrieval_generations set language = %(language)s
where tenant_id = %(tenant_id)s and collection = %(collection)s and language = 'auto'
returning language;

-- name: known
select external_id, encode(content_hash, 'hex') as content_hash, principals, metadata from retrieval_documents
where tenant_id = %(tenant_id)s and collection = %(collection)s
  and (%(external_ids)s::text[] is null or external_id = any(%(external_ids)s::text[]));

-- name: documents
select external_id, title, media_type, metadata, principals, length(body) as characters,
  cardinality(page_starts) as pages, encode(content_hash, 'hex') as content_hash, updated_at,
  (select count(*) from retrieval_chunks k
   where k.tenant_id = d.tenant_id and k.document_id = d.document_id and k.generation = %(generation)s) as chunks
from retrieval_documents d
where tenant_id = %(tenant_id)s and collection = %(collection)s and external_id > %(after)s
order by external_id limit %(limit)s;

-- name: set_calibration
insert into retrieval_calibrations (tenant_id, generation, relevance, evidence, questions)
values (%(tenant_id)s, %(generation)s, %(relevance)s, %(evidence)s, %(questions)s)
on conflict (tenant_id, generation) do update set relevance = excluded.relevance, evidence = excluded.evidence,
  questions = excluded.questions, calibrated_at = now();

-- name: calibration
select relevance, evidence, questions, calibrated_at from retrieval_calibrations
where tenant_id = %(tenant_id)s and generation = %(generation)s;

-- name: forget_calibration
delete from retrieval_calibrations where tenant_id = %(tenant_id)s and generation = %(generation)s;

-- name: change
-- Takes the collection's lock until the end of the transaction.
update retrieval_collections set changes = changes + 1
where tenant_id = %(tenant_id)s and collection = %(collection)s returning changes;

-- name: vectors_of_texts
select distinct on (text_hash) text_hash, embedding::text as embedding
from retrieval_chunks join retrieval_generations using (tenant_id, generation)
where tenant_id = %(tenant_id)s and embedding_model = %(model)s and text_hash = any(%(hashes)s)
  and embedding is not null;

-- name: put_documents
insert into retrieval_documents
  (tenant_id, collection, external_id, content_hash, title, media_type, metadata, principals, body, page_starts)
select %(tenant_id)s, %(collection)s, external_id, decode(content_hash, 'hex'), title, media_type, metadata::jsonb,
  string_to_array(principals, chr(31)), body, page_starts::int[]
from unnest(%(external_id)s::text[], %(content_hash)s::text[], %(title)s::text[], %(media_type)s::text[],
  %(metadata)s::text[], %(principals)s::text[], %(body)s::text[], %(page_starts)s::text[])
  as new(external_id, content_hash, title, media_type, metadata, principals, body, page_starts)
on conflict (tenant_id, collection, external_id) do update set content_hash = excluded.content_hash,
  title = excluded.title, media_type = excluded.media_type, metadata = excluded.metadata,
  principals = excluded.principals, body = excluded.body, page_starts = excluded.page_starts, updated_at = now()
returning external_id, document_id;

-- name: clear_chunks
with gone as (
  delete from retrieval_chunks k using retrieval_documents d
  where k.tenant_id = %(tenant_id)s and d.tenant_id = k.tenant_id and d.document_id = k.document_id
    and d.collection = %(collection)s and d.external_id = any(%(external_ids)s)
  returning k.generation, k.chunk_id
)
insert into retrieval_removals (tenant_id, generation, change, chunk_id)
select %(tenant_id)s, generation, %(change)s, chunk_id from gone;

-- name: put_chunks
insert into retrieval_chunks
  (tenant_id, generation, document_id, ordinal, starts_at, ends_at, page, parent_starts_at, parent_ends_at,
   head_starts_at, head_ends_at, heading, text_hash, terms, principals, change, embedding, memo)
select %(tenant_id)s, %(generation)s, document_id, ordinal, starts_at, ends_at, page, parent_starts_at, parent_ends_at,
  head_starts_at, head_ends_at, heading, text_hash, terms, string_to_array(principals, chr(31)), %(change)s,
  embedding::halfvec, memo::jsonb
from unnest(%(document_id)s::bigint[], %(ordinal)s::int[], %(starts_at)s::int[], %(ends_at)s::int[], %(page)s::int[],
  %(parent_starts_at)s::int[], %(parent_ends_at)s::int[], %(head_starts_at)s::int[], %(head_ends_at)s::int[],
  %(heading)s::text[], %(text_hash)s::bytea[], %(terms)s::text[], %(principals)s::text[], %(embedding)s::text[],
  %(memo)s::text[])
  as new(document_id, ordinal, starts_at, ends_at, page, parent_starts_at, parent_ends_at, head_starts_at, head_ends_at,
         heading, text_hash, terms, principals, embedding, memo);

-- name: memos
-- What models said of the chunks of some documents as they are kept, in any generation.
select memo from retrieval_chunks k join retrieval_documents d using (tenant_id, document_id)
where k.tenant_id = %(tenant_id)s and d.collection = %(collection)s and d.external_id = any(%(external_ids)s)
  and memo is not null;

-- name: delete_documents
delete from retrieval_documents
where tenant_id = %(tenant_id)s and collection = %(collection)s and external_id = any(%(external_ids)s);

-- name: absent
-- Documents of a collection that are not among those named.
select external_id from retrieval_documents
where tenant_id = %(tenant_id)s and collection = %(collection)s and not external_id = any(%(external_ids)s);

-- name: sweep_removals
delete from retrieval_removals where removed_at < now() - interval '1 day';

-- name: size_of_index
select count(*) as chunks from (
  select 1 from retrieval_chunks where tenant_id = %(tenant_id)s and generation = %(generation)s limit %(most)s) as few;

-- name: index_vectors
select index_retrieval(%(generation)s) as is_there;

-- name: sweep_indexes
select sweep_retrieval_indexes();

-- name: terms_since
select chunk_id, terms, principals, document_id from retrieval_chunks
where tenant_id = %(tenant_id)s and generation = %(generation)s and change > %(since)s order by chunk_id;

-- name: metadata_since
select document_id, metadata::text as metadata from retrieval_documents
where tenant_id = %(tenant_id)s and document_id in (
  select document_id from retrieval_chunks
  where tenant_id = %(tenant_id)s and generation = %(generation)s and change > %(since)s);

-- name: vectors_since
select chunk_id, document_id, principals, halfvec_send(embedding) as vector from retrieval_chunks
where tenant_id = %(tenant_id)s and generation = %(generation)s and change > %(since)s and embedding is not null;

-- name: removals_since
select chunk_id from retrieval_removals
where tenant_id = %(tenant_id)s and generation = %(generation)s and change > %(since)s;

-- name: some_vectors
select embedding::real[] as vector, principals from retrieval_chunks
where tenant_id = %(tenant_id)s and generation = %(generation)s and embedding is not null
order by hashint8(chunk_id) limit %(limit)s;

-- name: look_far
-- The index looks on until enough rows meet rights and filters.
select set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.ef_search', '400', true),
  set_config('hnsw.max_scan_tuples', '200000', true);

-- name: nearest
select chunk_id from retrieval_nearest(%(generation)s, %(vector)s, %(filter)s::jsonpath, %(limit)s) as near(chunk_id);

-- name: candidates
-- Reads hits again: what is gone, or not to be read by who asks, is not there. Each is found by its key, whatever is known
-- of the tables' sizes, and the vector is read once: `offset 0` and `materialized` hold the planner to both.
with asked as materialized (select %(vector)s::halfvec as vector)
select found.chunk_id, found.document_id, coalesce(1 - (found.embedding <=> asked.vector), 0) as cosine
from asked, unnest(%(chunk_ids)s::bigint[]) as wanted(chunk_id) cross join lateral (
  select k.chunk_id, k.document_id, k.embedding from retrieval_chunks k
  where k.tenant_id = %(tenant_id)s and k.chunk_id = wanted.chunk_id and k.generation = %(generation)s offset 0) as found
where %(filter)s::jsonpath is null or (
  select jsonb_path_match(d.metadata, %(filter)s::jsonpath, '{}', true) from retrieval_documents d
  where d.tenant_id = %(tenant_id)s and d.document_id = found.document_id);

-- name: passages
select k.chunk_id::text as chunk_id, external_id, substr(body, starts_at + 1, ends_at - starts_at) as text,
  starts_at as start, ends_at as end, page, title, heading,
  coalesce(substr(body, head_starts_at + 1, head_ends_at - head_starts_at), '') as table_head,
  case when parent_starts_at is not null then jsonb_build_object(
    'text', substr(body, parent_starts_at + 1, parent_ends_at - parent_starts_at), 'start', parent_starts_at,
    'end', parent_ends_at) end as parent,
  array(select begins from unnest(page_starts) as begins
        where begins > coalesce(parent_starts_at, starts_at) and begins < coalesce(parent_ends_at, ends_at)
        order by begins) as page_starts
from unnest(%(chunk_ids)s::bigint[]) as wanted(chunk_id) cross join lateral (
  select * from retrieval_chunks k where k.tenant_id = %(tenant_id)s and k.chunk_id = wanted.chunk_id offset 0) as k
cross join lateral (
  select * from retrieval_documents d where d.tenant_id = %(tenant_id)s and d.document_id = k.document_id offset 0) as d;

-- name: document_part
-- A document from some character on, with its chunks there.
select external_id, title, media_type, metadata, principals, page_starts, length(body) as characters,
  substr(body, %(start)s + 1, %(length)s) as text,
  array(select array[starts_at, ends_at] from retrieval_chunks k
        where k.tenant_id = d.tenant_id and k.document_id = d.document_id and k.generation = %(generation)s
          and k.ends_at > %(start)s and k.starts_at < %(start)s + %(length)s order by ordinal) as chunks
from retrieval_documents d
where tenant_id = %(tenant_id)s and collection = %(collection)s and external_id = %(external_id)s;
