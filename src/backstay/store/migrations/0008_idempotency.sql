-- Idempotency keys. A row is claimed before a provider is called, and holds the answer once there is one. Whoever finds
-- a claim that is running contests it; its holder clears that as long as it lives, and otherwise loses it.
create table idempotency_keys (
  tenant_id       text not null,
  key_id          text not null,
  idempotency_key text not null,
  fingerprint     bytea not null,
  claim_id        text not null,
  trace_id        text not null,
  state           text not null default 'running' check (state in ('running', 'kept', 'too_large')),
  contested_at    timestamptz,
  expires_at      timestamptz not null,
  is_stream       boolean,
  headers         jsonb,
  body            bytea,
  primary key (tenant_id, key_id, idempotency_key)
);
create index idempotency_keys_expiry on idempotency_keys (expires_at);

alter table idempotency_keys enable row level security;
alter table idempotency_keys force row level security;
create policy one_tenant on idempotency_keys to backstay_app using (tenant_id = backstay_tenant())
  with check (tenant_id = backstay_tenant());
create policy all_tenants on idempotency_keys to backstay_system using (true) with check (true);
grant select, insert, update on idempotency_keys to backstay_app;
grant select, update, delete on idempotency_keys to backstay_system;
