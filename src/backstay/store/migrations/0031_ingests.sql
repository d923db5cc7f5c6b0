-- Files and addresses that are taken into collections, each a row of work: read, cut, embedded and written by a process that
-- runs jobs. What became of a row is written in the transaction that writes its document.

create table ingests (
  tenant_id  text not null,
  ingest_id  text not null,
  -- By its name: the collection may be deleted meanwhile, and the ingest says so.
  collection text not null,
  key_id     text not null,
  principals text[],
  metadata   jsonb not null default '{}',
  embedded   bigint not null default 0,
  problem    text,
  created_at timestamptz not null default now(),
  -- When it last took something in; when it was said that nothing more comes; when somebody last took work from it.
  touched_at timestamptz not null default now(),
  closed_at  timestamptz,
  served_at  timestamptz,
  primary key (tenant_id, ingest_id)
);
create index ingests_collection on ingests (tenant_id, collection, created_at desc);
create index ingests_old on ingests (created_at);

create table ingest_items (
  tenant_id    text not null,
  ingest_id    text not null,
  external_id  text not null,
  url          text,
  content_hash text,
  size_bytes   bigint not null default 0,
  state        text not null default 'writing' check (state in
    ('writing', 'waiting', 'running', 'added', 'changed', 'unchanged', 'unreadable', 'failed', 'cancelled')),
  problem      text,
  chunks       int not null default 0,
  tries        int not null default 0,
  owner        text,
  created_at   timestamptz not null default now(),
  due_at       timestamptz not null default now(),
  seen_at      timestamptz,
  primary key (tenant_id, ingest_id, external_id),
  foreign key (tenant_id, ingest_id) references ingests on delete cascade
);
create index ingest_items_waiting on ingest_items (tenant_id, ingest_id, due_at) where state = 'waiting';
create index ingest_items_running on ingest_items (owner) where state = 'running';

create table ingest_pieces (
  tenant_id   text not null,
  ingest_id   text not null,
  external_id text not null,
  number      int not null,
  data        bytea not null,
  primary key (tenant_id, ingest_id, external_id, number),
  foreign key (tenant_id, ingest_id, external_id) references ingest_items on delete cascade
);
alter table ingest_pieces alter column data set storage external;

do $$
declare
  name text;
begin
  foreach name in array array['ingests', 'ingest_items', 'ingest_pieces'] loop
    execute format('alter table %I enable row level security', name);
    execute format('alter table %I force row level security', name);
    execute format('create policy one_tenant on %I to backstay_app using (tenant_id = backstay_tenant()) '
                   'with check (tenant_id = backstay_tenant())', name);
    execute format('create policy all_tenants on %I to backstay_system using (true) with check (true)', name);
  end loop;
end $$;
grant select, insert, update, delete on ingests, ingest_items, ingest_pieces to backstay_app, backstay_system;
