-- Responses that callers may go on from (OpenAI's previous_response_id). A row is one turn: what was said, and the
-- answer; both are JSON text, which may hold what jsonb refuses. Where a provider keeps the conversation itself, target
-- names it and the texts are null.
create table responses (
  tenant_id   text not null,
  response_id text not null,
  key_id      text not null,
  previous_id text,
  target      text,
  said        text,
  response    text,
  created_at  timestamptz not null default now(),
  expires_at  timestamptz not null,
  primary key (tenant_id, response_id)
);
create index responses_previous on responses (tenant_id, previous_id) where previous_id is not null;
create index responses_expiry on responses (expires_at);

alter table responses enable row level security;
alter table responses force row level security;
create policy one_tenant on responses to backstay_app using (tenant_id = backstay_tenant())
  with check (tenant_id = backstay_tenant());
create policy all_tenants on responses to backstay_system using (true) with check (true);
grant select, insert, delete on responses to backstay_app, backstay_system;
grant update (expires_at) on responses to backstay_system;
