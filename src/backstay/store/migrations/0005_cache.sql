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

-- Questions by their embeddings. Needs pgvector, which a Postgres may lack or get later: a worker that wants it calls
-- this. True: the table is there. The questions go with their answers.
create function ensure_semantic_cache() returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
begin
  perform pg_advisory_xact_lock(hashtext('backstay.cache.vectors'));
  if to_regclass('cache_vectors') is not null then
    return true;
  end if;
  if not exists (select from pg_available_extensions where name = 'vector'
                 and string_to_array(default_version, '.')::int[] >= array[0, 8]) then
    return false;
  end if;
  create extension if not exists vector;
  create table cache_vectors (
    tenant_id text not null,
    key       bytea not null,
    context   bytea not null,
    question  text not null,
    embedding vector(384) not null,
    primary key (tenant_id, key),
    foreign key (tenant_id, key) references cache_entries on delete cascade
  );
  create index cache_vectors_context on cache_vectors (tenant_id, context);
  create index cache_vectors_near on cache_vectors using hnsw (embedding vector_cosine_ops);
  alter table cache_vectors enable row level security;
  alter table cache_vectors force row level security;
  create policy one_tenant on cache_vectors to backstay_app using (tenant_id = backstay_tenant())
    with check (tenant_id = backstay_tenant());
  create policy all_tenants on cache_vectors to backstay_system using (true) with check (true);
  grant select on cache_vectors to backstay_app;
  grant select, insert, update, delete on cache_vectors to backstay_system;
  return true;
exception when insufficient_privilege then
  return false;
end $$;
revoke all on function ensure_semantic_cache() from public;
grant execute on function ensure_semantic_cache() to backstay_system;
