-- Tenants, access, traces and the ledger. Every table of state has the tenant first in its key and row-level security.
-- Roles: backstay_app sees one tenant (setting backstay.tenant); backstay_system authenticates, ships journals and
-- migrates nothing. Neither can bypass row-level security.

create function backstay_tenant() returns text language sql stable parallel safe
  as $$ select nullif(current_setting('backstay.tenant', true), '') $$;

create table tenants (
  tenant_id  text primary key check (tenant_id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
  created_at timestamptz not null default now()
);

create table keys (
  tenant_id   text not null references tenants,
  key_id      text not null,
  prefix      text not null unique,
  secret_hash bytea not null,
  name        text not null,
  rights      text[] not null,
  models      text[],
  routes      text[],
  feature     text,
  tags        text[] not null default '{}',
  created_at  timestamptz not null default now(),
  created_by  text not null,
  expires_at  timestamptz,
  revoked_at  timestamptz,
  replaced_by text,
  primary key (tenant_id, key_id)
);

create table people (
  tenant_id     text not null references tenants,
  person_id     text not null,
  email         text not null check (email = lower(email)),
  role          text not null check (role in ('admin', 'editor', 'reviewer', 'viewer')),
  password_hash text,
  created_at    timestamptz not null default now(),
  disabled_at   timestamptz,
  primary key (tenant_id, person_id),
  unique (tenant_id, email)
);

create table login_links (
  tenant_id  text not null,
  token_hash bytea not null unique,
  person_id  text not null,
  expires_at timestamptz not null,
  used_at    timestamptz,
  primary key (tenant_id, token_hash),
  foreign key (tenant_id, person_id) references people
);

create table sessions (
  tenant_id  text not null,
  token_hash bytea not null unique,
  person_id  text not null,
  csrf_token text not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  revoked_at timestamptz,
  user_agent text not null default '',
  primary key (tenant_id, token_hash),
  foreign key (tenant_id, person_id) references people
);

create table audit_log (
  tenant_id text not null references tenants,
  audit_id  bigint generated always as identity,
  at        timestamptz not null default now(),
  actor     text not null,
  action    text not null,
  subject   text not null,
  detail    jsonb not null default '{}',
  primary key (tenant_id, audit_id)
);

-- One row a span. The root span of a call (kind 'call') carries the columns that lists are filtered by, and the wire's
-- request and response as they were (input, output: JSON text, which may hold what jsonb refuses).
create table spans (
  tenant_id      text not null,
  started_at     timestamptz not null,
  span_id        text not null,
  trace_id       text not null,
  parent_id      text,
  kind           text not null,
  name           text not null,
  duration_ns    bigint not null,
  status         text not null check (status in ('ok', 'error', 'cancelled', 'interrupted')),
  error_code     text,
  error_message  text,
  operation      text,
  model          text,
  target         text,
  key_id         text,
  user_id        text,
  feature        text,
  tags           text[] not null default '{}',
  http_status    int,
  stream         boolean,
  first_token_ns bigint,
  input_tokens   bigint,
  output_tokens  bigint,
  cost_nanousd   bigint,
  attributes     jsonb not null default '{}',
  input_dialect  text,
  input          text,
  output_dialect text,
  output         text,
  primary key (tenant_id, started_at, span_id)
) partition by range (started_at);
create index spans_trace on spans (tenant_id, trace_id);
create index spans_calls on spans (tenant_id, started_at desc) where kind = 'call';

-- One row for what one attempt cost. Append-only. cost_nanousd is null where the price is unknown.
create table ledger_entries (
  tenant_id     text not null,
  at            timestamptz not null,
  call_id       text not null,
  attempt       smallint not null,
  trace_id      text not null,
  key_id        text,
  user_id       text,
  feature       text,
  tags          text[] not null default '{}',
  model         text not null,
  target        text not null,
  input_tokens  bigint,
  output_tokens bigint,
  cost_nanousd  bigint,
  estimated     boolean not null default false,
  unconfirmed   boolean not null default false,
  price_source  text,
  lines         jsonb not null default '[]',
  primary key (tenant_id, at, call_id, attempt)
) partition by range (at);
create index ledger_trace on ledger_entries (tenant_id, trace_id);

-- Makes the day's partitions where they are missing, whatever the caller's role. Days are UTC.
create function ensure_partitions(day date) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  parent text;
  child text;
begin
  foreach parent in array array['spans', 'ledger_entries'] loop
    child := parent || '_' || to_char(day, 'YYYYMMDD');
    if to_regclass(child) is null then
      perform pg_advisory_xact_lock(hashtext('backstay.partition'));
      if to_regclass(child) is null then
        execute format('create table %I partition of %I for values from (%L) to (%L)', child, parent,
                       day::timestamp at time zone 'utc', (day + 1)::timestamp at time zone 'utc');
      end if;
    end if;
  end loop;
end $$;

do $$
declare
  name text;
begin
  foreach name in array array['tenants', 'keys', 'people', 'login_links', 'sessions', 'audit_log', 'spans', 'ledger_entries'] loop
    execute format('alter table %I enable row level security', name);
    execute format('alter table %I force row level security', name);
    execute format('create policy one_tenant on %I to backstay_app using (tenant_id = backstay_tenant()) '
                   'with check (tenant_id = backstay_tenant())', name);
    execute format('create policy all_tenants on %I to backstay_system using (true) with check (true)', name);
  end loop;
end $$;

grant usage on schema public to backstay_app, backstay_system;
grant select on all tables in schema public to backstay_app, backstay_system;
grant insert, update on keys, people, login_links, sessions to backstay_app, backstay_system;
grant insert on tenants to backstay_system;
grant insert on audit_log to backstay_app, backstay_system;
grant insert on spans, ledger_entries to backstay_system;
revoke all on function ensure_partitions(date) from public;
grant execute on function ensure_partitions(date) to backstay_system;
