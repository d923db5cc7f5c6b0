-- Whom a key may search documents for; null: anybody, as an older worker's keys may.
alter table keys add column principals text[];

-- What a collection is called on the wire of OpenAI's vector stores, where it was made there.
create table retrieval_vector_stores (
  tenant_id   text not null,
  collection  text not null,
  -- Who made it, and may change it beside admins.
  key_id      text not null,
  name        text not null,
  metadata    jsonb not null default '{}',
  created_at  timestamptz not null default now(),
  primary key (tenant_id, collection),
  foreign key (tenant_id, collection) references retrieval_collections on delete cascade
);

-- Files that were put into a collection: what is searched of one is the document with its id.
create table retrieval_vector_files (
  tenant_id  text not null,
  collection text not null,
  file_id    text not null,
  batch_id   text,
  status     text not null check (status in ('in_progress', 'completed', 'failed', 'cancelled')),
  error_code text,
  error      text,
  size_bytes bigint not null default 0,
  filename   text not null,
  attributes jsonb not null default '{}',
  principals text[],
  -- When work on it began last: what is in progress for long has lost its worker, and another takes it up.
  touched_at timestamptz,
  created_at timestamptz not null default now(),
  primary key (tenant_id, collection, file_id),
  foreign key (tenant_id, collection) references retrieval_collections on delete cascade
);
create index retrieval_vector_files_page on retrieval_vector_files (tenant_id, collection, created_at, file_id);
create index retrieval_vector_files_file on retrieval_vector_files (tenant_id, file_id);

do $$
declare
  name text;
begin
  foreach name in array array['retrieval_vector_stores', 'retrieval_vector_files'] loop
    execute format('alter table %I enable row level security', name);
    execute format('alter table %I force row level security', name);
    execute format('create policy one_tenant on %I to backstay_app using (tenant_id = backstay_tenant()) '
                   'with check (tenant_id = backstay_tenant())', name);
    execute format('create policy all_tenants on %I to backstay_system using (true) with check (true)', name);
  end loop;
end $$;
grant select, insert, update, delete on retrieval_vector_stores, retrieval_vector_files to backstay_app, backstay_system;
