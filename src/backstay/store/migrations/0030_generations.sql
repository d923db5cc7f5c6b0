-- A collection's next generation is built beside the live one from the documents that are kept, and takes its place in one
-- update. One that is not live is kept as current as the live one, so that it can be switched back to.

alter table retrieval_generations
  -- Whose calls of the embedding model these are.
  add column key_id text,
  -- Up to which document it was built; those that are written meanwhile are written into it at once.
  add column reached bigint not null default 0,
  -- When it came to have all documents; null: it has not.
  add column built_at timestamptz,
  add column retired_at timestamptz,
  add column problem text,
  add column due_at timestamptz not null default now(),
  add column owner text,
  add column seen_at timestamptz;

create index retrieval_generations_unbuilt on retrieval_generations (due_at) where state <> 'live' and built_at is null;

-- What was asked last, by which two generations are compared. Kept where messages are kept, a week at most.
create table retrieval_recent_queries (
  tenant_id  text not null,
  collection text not null,
  query_hash bytea not null,
  query      text not null,
  terms      jsonb not null,
  asked_at   timestamptz not null default now(),
  primary key (tenant_id, collection, query_hash),
  foreign key (tenant_id, collection) references retrieval_collections on delete cascade
);
create index retrieval_recent_queries_last on retrieval_recent_queries (tenant_id, collection, asked_at);

alter table retrieval_recent_queries enable row level security;
alter table retrieval_recent_queries force row level security;
create policy one_tenant on retrieval_recent_queries to backstay_app using (tenant_id = backstay_tenant())
  with check (tenant_id = backstay_tenant());
create policy all_tenants on retrieval_recent_queries to backstay_system using (true) with check (true);
grant select, insert, update, delete on retrieval_recent_queries to backstay_app, backstay_system;
