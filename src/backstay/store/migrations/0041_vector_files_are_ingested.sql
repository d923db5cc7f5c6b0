-- Files of vector stores are read as all others are: by an ingest, of which each is an item under its own id. What became of
-- an item is written to the file in the same statement.
alter table retrieval_vector_files add column ingest_id text;

-- What workers of before were at is read by the process that runs jobs; as whoever made the store, where it was made there.
with stores as (
  select tenant_id, collection, 'ing_' || md5(tenant_id || chr(31) || collection) as ingest_id
  from retrieval_vector_files where status = 'in_progress' group by tenant_id, collection
), begun as (
  insert into ingests (tenant_id, ingest_id, collection, key_id, closed_at)
  select s.tenant_id, s.ingest_id, s.collection, coalesce(v.key_id, 'operator'), now()
  from stores s left join retrieval_vector_stores v using (tenant_id, collection)
  returning tenant_id, ingest_id, collection
), named as (
  update retrieval_vector_files f set ingest_id = begun.ingest_id from begun
  where f.tenant_id = begun.tenant_id and f.collection = begun.collection and f.status = 'in_progress'
  returning f.tenant_id, begun.ingest_id, f.file_id, f.size_bytes
)
insert into ingest_items (tenant_id, ingest_id, external_id, size_bytes, state)
select tenant_id, ingest_id, file_id, size_bytes, 'waiting' from named;
