-- How long an expired answer stays for when no target answers. Null, as a worker before this writes it: no longer.
alter table cache_entries add column keep_until timestamptz;
drop index cache_entries_expiry;
create index cache_entries_end on cache_entries (greatest(keep_until, expires_at));

-- Pairs of questions, and whether they may share an answer: from checks of semantic hits, and from corrections.
create table cache_pairs (
  tenant_id  text not null,
  id         text not null,
  model      text not null,
  feature    text,
  kept       text not null,
  asked      text not null,
  same       boolean,
  source     text not null check (source in ('shadow', 'correction')),
  similarity real,
  trace_id   text not null,
  created_at timestamptz not null default now(),
  primary key (tenant_id, id)
);
create index cache_pairs_model on cache_pairs (model, created_at);
alter table cache_pairs enable row level security;
alter table cache_pairs force row level security;
create policy one_tenant on cache_pairs to backstay_app using (tenant_id = backstay_tenant())
  with check (tenant_id = backstay_tenant());
create policy all_tenants on cache_pairs to backstay_system using (true) with check (true);
grant select, insert on cache_pairs to backstay_app;
grant select, delete on cache_pairs to backstay_system;
