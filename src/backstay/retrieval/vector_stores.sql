-- name: name_store
insert into retrieval_vector_stores (tenant_id, collection, key_id, name, metadata)
values (%(tenant_id)s, %(collection)s, %(key_id)s, %(name)s, %(metadata)s)
on conflict (tenant_id, collection) do update set name = excluded.name, metadata = excluded.metadata;

-- name: stores
-- Collections as vector stores, counted as those see them whom the transaction reads for; by when they were made, the
-- latest first where the sign is -1.
select c.collection as id, coalesce(s.name, c.collection) as name, coalesce(s.metadata, '{}') as metadata, s.key_id,
  c.created_at, count(d.document_id) as completed, coalesce(sum(octet_length(d.body)), 0)::bigint as usage_bytes,
  (select count(*) from retrieval_vector_files f where f.tenant_id = c.tenant_id and f.collection = c.collection
     and f.status = 'in_progress') as in_progress,
  (select count(*) from retrieval_vector_files f where f.tenant_id = c.tenant_id and f.collection = c.collection
     and f.status = 'failed') as failed,
  (select count(*) from retrieval_vector_files f where f.tenant_id = c.tenant_id and f.collection = c.collection
     and f.status = 'cancelled') as cancelled,
  coalesce(max(d.updated_at), c.created_at) as last_active_at
from retrieval_collections c
left join retrieval_vector_stores s using (tenant_id, collection)
left join retrieval_documents d on d.tenant_id = c.tenant_id and d.collection = c.collection
where c.tenant_id = %(tenant_id)s and (%(collection)s::text is null or c.collection = %(collection)s)
  and (%(after)s::text is null or (extract(epoch from c.created_at) * %(sign)s, c.collection) > (
    select extract(epoch from created_at) * %(sign)s, collection from retrieval_collections
    where tenant_id = %(tenant_id)s and collection = %(after)s))
group by c.tenant_id, c.collection, s.name, s.metadata, s.key_id, c.created_at
order by extract(epoch from c.created_at) * %(sign)s, c.collection limit %(limit)s;

-- name: keys_of
-- A key, and those that it was put in the place of: a rotated key goes on with what was theirs.
with recursive mine (key_id) as (
  select %(key_id)s::text
  union
  select keys.key_id from keys join mine on keys.replaced_by = mine.key_id where keys.tenant_id = %(tenant_id)s
)
select key_id from mine;

-- name: leave_out
-- What waits to be read of files, or is being read, is not wanted any more: it writes nothing.
update ingest_items i set state = 'cancelled' from retrieval_vector_files f
where f.tenant_id = %(tenant_id)s and f.collection = %(collection)s and f.file_id = any(%(file_ids)s)
  and i.tenant_id = f.tenant_id and i.ingest_id = f.ingest_id and i.external_id = f.file_id
  and i.state in ('waiting', 'running');

-- name: begin_ingest
insert into ingests (tenant_id, ingest_id, collection, key_id, closed_at)
values (%(tenant_id)s, %(ingest_id)s, %(collection)s, %(key_id)s, now());

-- name: add_items
insert into ingest_items (tenant_id, ingest_id, external_id, size_bytes, state)
select %(tenant_id)s, %(ingest_id)s, file_id, size_bytes, 'waiting'
from unnest(%(file_id)s::text[], %(size_bytes)s::bigint[]) as new(file_id, size_bytes);

-- name: add_files
-- A file that is there already is read again.
insert into retrieval_vector_files
  (tenant_id, collection, file_id, batch_id, ingest_id, status, filename, size_bytes, attributes, principals)
select %(tenant_id)s, %(collection)s, file_id, %(batch_id)s, %(ingest_id)s, 'in_progress', filename, size_bytes,
  attributes::jsonb, string_to_array(principals, chr(31))
from unnest(%(file_id)s::text[], %(filename)s::text[], %(size_bytes)s::bigint[], %(attributes)s::text[],
  %(principals)s::text[]) as new(file_id, filename, size_bytes, attributes, principals)
on conflict (tenant_id, collection, file_id) do update set batch_id = excluded.batch_id,
  ingest_id = excluded.ingest_id, status = 'in_progress', filename = excluded.filename,
  size_bytes = excluded.size_bytes, attributes = excluded.attributes, principals = excluded.principals, error = null,
  error_code = null, created_at = now();

-- name: notify
select pg_notify('backstay_retrieval', '');

-- name: files
select file_id as id, collection as vector_store_id, status, error, error_code, filename, size_bytes, attributes,
  created_at
from retrieval_vector_files
where tenant_id = %(tenant_id)s and collection = %(collection)s
  and (%(file_id)s::text is null or file_id = %(file_id)s)
  and (%(batch_id)s::text is null or batch_id = %(batch_id)s)
  and (%(status)s::text is null or status = %(status)s)
  and (%(after)s::text is null or (extract(epoch from created_at) * %(sign)s, file_id) > (
    select extract(epoch from created_at) * %(sign)s, file_id from retrieval_vector_files
    where tenant_id = %(tenant_id)s and collection = %(collection)s and file_id = %(after)s))
order by extract(epoch from created_at) * %(sign)s, file_id limit %(limit)s;

-- name: batch
select count(*) filter (where status = 'in_progress') as in_progress,
  count(*) filter (where status = 'completed') as completed, count(*) filter (where status = 'failed') as failed,
  count(*) filter (where status = 'cancelled') as cancelled, min(created_at) as created_at
from retrieval_vector_files
where tenant_id = %(tenant_id)s and collection = %(collection)s and batch_id = %(batch_id)s;

-- name: cancel_batch
-- What of a batch is written in this moment is waited for, and stays.
with unwanted as (
  update ingest_items i set state = 'cancelled' from retrieval_vector_files f
  where f.tenant_id = %(tenant_id)s and f.collection = %(collection)s and f.batch_id = %(batch_id)s
    and i.tenant_id = f.tenant_id and i.ingest_id = f.ingest_id and i.external_id = f.file_id
    and i.state in ('waiting', 'running')
  returning i.ingest_id, i.external_id
)
update retrieval_vector_files f set status = 'cancelled' from unwanted
where f.tenant_id = %(tenant_id)s and f.collection = %(collection)s and f.file_id = unwanted.external_id
  and f.ingest_id = unwanted.ingest_id
returning f.file_id;

-- name: set_attributes
update retrieval_vector_files set attributes = %(attributes)s
where tenant_id = %(tenant_id)s and collection = %(collection)s and file_id = %(file_id)s
returning file_id;

-- name: set_metadata
-- As a change of the document's chunks, so that those learn of it who keep an index of them.
with described as (
  update retrieval_documents set metadata = %(attributes)s
  where tenant_id = %(tenant_id)s and collection = %(collection)s and external_id = %(file_id)s
  returning document_id
)
update retrieval_chunks k set change = %(change)s from described
where k.tenant_id = %(tenant_id)s and k.document_id = described.document_id;

-- name: drop_file
delete from retrieval_vector_files
where tenant_id = %(tenant_id)s and collection = %(collection)s and file_id = %(file_id)s
returning file_id;

-- name: stores_of_file
select collection from retrieval_vector_files where tenant_id = %(tenant_id)s and file_id = %(file_id)s;

-- name: body
select body from retrieval_documents
where tenant_id = %(tenant_id)s and collection = %(collection)s and external_id = %(file_id)s;

-- name: about_documents
select external_id, metadata, filename from retrieval_documents d
left join retrieval_vector_files f on f.tenant_id = d.tenant_id and f.collection = d.collection
  and f.file_id = d.external_id
where d.tenant_id = %(tenant_id)s and d.collection = %(collection)s and external_id = any(%(external_ids)s);
