-- Collections of documents that are searched. A generation is a collection's index, built by one pair of chunking and
-- embedding model; one of them is live. Rights are the database's own matter: a transaction names the principals that it
-- reads for, and row-level security shows it the public documents and theirs, and the chunks of these.

create function backstay_principals() returns text[]
language sql stable parallel safe
return coalesce(string_to_array(nullif(current_setting('backstay.principals', true), ''), chr(31)), '{}');

create function backstay_keeps_documents() returns boolean
language sql stable parallel safe
return coalesce(current_setting('backstay.keeps_documents', true), '') = 'on';

create table retrieval_collections (
  tenant_id  text not null,
  collection text not null,
  settings   jsonb not null,
  -- Goes up with every change of the collection's documents, under the row's lock: who has read up to a number has
  -- missed nothing below it.
  changes    bigint not null default 0,
  created_at timestamptz not null default now(),
  primary key (tenant_id, collection)
);

create table retrieval_generations (
  tenant_id       text not null,
  generation      bigint generated always as identity,
  collection      text not null,
  chunking        jsonb not null,
  embedding_model text not null,
  language        text not null,
  terms_version   int not null,
  state           text not null check (state in ('building', 'live', 'retired')),
  created_at      timestamptz not null default now(),
  primary key (tenant_id, generation),
  foreign key (tenant_id, collection) references retrieval_collections on delete cascade
);
create unique index retrieval_generations_live on retrieval_generations (tenant_id, collection) where state = 'live';

create table retrieval_documents (
  tenant_id    text not null,
  document_id  bigint generated always as identity,
  collection   text not null,
  external_id  text not null,
  content_hash bytea not null,
  title        text not null,
  media_type   text not null,
  metadata     jsonb not null,
  principals   text[],
  body         text not null,
  page_starts  int[] not null,
  updated_at   timestamptz not null default now(),
  primary key (tenant_id, document_id),
  unique (tenant_id, collection, external_id),
  foreign key (tenant_id, collection) references retrieval_collections on delete cascade
);

create table retrieval_chunks (
  tenant_id   text not null,
  chunk_id    bigint generated always as identity,
  generation  bigint not null,
  document_id bigint not null,
  ordinal     int not null,
  starts_at   int not null,
  ends_at     int not null,
  page        int,
  heading     text not null,
  text_hash   bytea not null,
  terms       text not null,
  -- As the document's, so that the policy needs no second table.
  principals  text[],
  change      bigint not null,
  primary key (tenant_id, chunk_id),
  foreign key (tenant_id, document_id) references retrieval_documents on delete cascade,
  foreign key (tenant_id, generation) references retrieval_generations on delete cascade
);
create index retrieval_chunks_document on retrieval_chunks (tenant_id, document_id, generation, ordinal);
create index retrieval_chunks_text on retrieval_chunks (tenant_id, text_hash);
create index retrieval_chunks_change on retrieval_chunks (tenant_id, generation, change);

-- Chunks that went, for those who keep an index of their words.
create table retrieval_removals (
  tenant_id  text not null,
  generation bigint not null,
  change     bigint not null,
  chunk_id   bigint not null,
  removed_at timestamptz not null default now(),
  primary key (tenant_id, generation, change, chunk_id),
  foreign key (tenant_id, generation) references retrieval_generations on delete cascade
);

do $$
declare
  name text;
begin
  foreach name in array array['retrieval_collections', 'retrieval_generations', 'retrieval_documents',
                              'retrieval_chunks', 'retrieval_removals'] loop
    execute format('alter table %I enable row level security', name);
    execute format('alter table %I force row level security', name);
    execute format('create policy one_tenant on %I to backstay_app using (tenant_id = backstay_tenant()) '
                   'with check (tenant_id = backstay_tenant())', name);
    execute format('create policy all_tenants on %I to backstay_system using (true) with check (true)', name);
  end loop;
  foreach name in array array['retrieval_documents', 'retrieval_chunks'] loop
    execute format('create policy may_read on %I as restrictive for all to backstay_app '
                   'using (principals is null or (select backstay_keeps_documents()) '
                   'or principals && (select backstay_principals())) '
                   'with check ((select backstay_keeps_documents()))', name);
  end loop;
end $$;
grant select, insert, update, delete on retrieval_collections, retrieval_generations, retrieval_documents,
  retrieval_chunks, retrieval_removals to backstay_app, backstay_system;

-- The chunks' vectors. They need pgvector, which a Postgres may lack or get later: who makes a collection calls this.
-- True: the column is there. By the hash of its text a chunk finds the vector of an equal one, so that no text is embedded
-- twice, and nothing of a text stays when the last document with it goes.
create function ensure_retrieval() returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
begin
  perform pg_advisory_xact_lock(hashtext('backstay.retrieval.vectors'));
  if exists (select from pg_attribute where attrelid = 'retrieval_chunks'::regclass and attname = 'embedding') then
    return true;
  end if;
  if not exists (select from pg_available_extensions where name = 'vector'
                 and string_to_array(default_version, '.')::int[] >= array[0, 8]) then
    return false;
  end if;
  create extension if not exists vector;
  alter table retrieval_chunks add column embedding halfvec;
  alter table retrieval_chunks alter column embedding set storage main;
  return true;
exception when insufficient_privilege then
  return false;
end $$;
revoke all on function ensure_retrieval() from public;
grant execute on function ensure_retrieval() to backstay_system;

-- Builds the index of a large generation's vectors, one a generation, so that a search walks through nobody else's.
create function index_retrieval(of_generation bigint) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  size int;
begin
  perform pg_advisory_xact_lock(hashtext('backstay.retrieval.index'), of_generation::int);
  if to_regclass(format('retrieval_near_%s', of_generation)) is not null then
    return true;
  end if;
  select vector_dims(embedding) into size from retrieval_chunks
    where generation = of_generation and embedding is not null limit 1;
  if size is null or size > 4000 then
    return false;
  end if;
  execute format('create index retrieval_near_%s on retrieval_chunks using hnsw '
                 '((embedding::halfvec(%s)) halfvec_cosine_ops) with (m = 16, ef_construction = 100) '
                 'where generation = %s', of_generation, size, of_generation);
  return true;
end $$;
revoke all on function index_retrieval(bigint) from public;
grant execute on function index_retrieval(bigint) to backstay_system;

-- Drops the indexes of generations that are gone.
create function sweep_retrieval_indexes() returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  gone name;
begin
  for gone in
    select relname from pg_class where relkind = 'i' and relname ~ '^retrieval_near_[0-9]+$'
      and not exists (select from retrieval_generations where generation = substr(relname, 16)::bigint)
  loop
    execute format('drop index %I', gone);
  end loop;
end $$;
revoke all on function sweep_retrieval_indexes() from public;
grant execute on function sweep_retrieval_indexes() to backstay_system;

-- The chunks of a generation that are nearest to a vector, among those that the caller may read and that meet a filter.
-- As a function, because an index of vectors is only used where their size stands in the query as a number.
create function retrieval_nearest(of_generation bigint, wanted text, meeting jsonpath, most int)
returns table (chunk_id bigint)
language plpgsql stable as $$
declare
  size int := array_length(string_to_array(wanted, ','), 1);
begin
  return query execute format(
    'select k.chunk_id from retrieval_chunks k '
    'where k.tenant_id = backstay_tenant() and k.generation = %s and ($2 is null or exists (select from '
    'retrieval_documents d where d.tenant_id = k.tenant_id and d.document_id = k.document_id '
    'and jsonb_path_match(d.metadata, $2, ''{}'', true))) '
    'order by k.embedding::halfvec(%s) <=> $1::halfvec(%s) limit $3', of_generation, size, size)
  using wanted, meeting, most;
end $$;
