-- Answers that are kept to be given again, shared by all workers; who is asking for one just now; how often it helped.
create table cache_entries (
  tenant_id    text not null,
  key          bytea not null,
  model        text not null,
  feature      text,
  dialect      text not null,
  body         bytea not null,
  usage        jsonb not null,
  target       text not null,
  trace_id     text not null,
  cost_nanousd bigint,
  created_at   timestamptz not null,
  expires_at   timestamptz not null,
  primary key (tenant_id, key)
);
create index cache_entries_expiry on cache_entries (expires_at);
create index cache_entries_age on cache_entries (tenant_id, model, created_at);
create index cache_entries_trace on cache_entries (tenant_id, trace_id);

-- One row a question that some worker is asking a model now. Lost in a crash of Postgres, as it should be.
create unlogged table cache_claims (
  tenant_id  text not null,
  key        bytea not null,
  holder     text not null,
  expires_at timestamptz not null,
  primary key (tenant_id, key)
);

create table cache_days (
  tenant_id      text not null,
  day            date not null,
  model          text not null,
  feature        text not null default '',
  hits           bigint not null default 0,
  semantic_hits  bigint not null default 0,
  misses         bigint not null default 0,
  saved_nanousd  bigint not null default 0,
  primary key (tenant_id, day, model, feature)
);

do $$
declare
  name text;
begin
  foreach name in array array['cache_entries', 'cache_claims', 'cache_days'] loop
    execute format('alter table %I enable row level security', name);
    execute format('alter table %I force row level security', name);
    execute format('create policy one_tenant on %I to backstay_app using (tenant_id = backstay_tenant()) '
                   'with check (tenant_id = backstay_tenant())', name);
    execute format('create policy all_tenants on %I to backstay_system using (true) with check (true)', name);
  end loop;
end $$;

grant select, insert, update, delete on cache_entries, cache_claims to backstay_app, backstay_system;
grant select, insert, update on cache_days to backstay_app, backstay_system;
