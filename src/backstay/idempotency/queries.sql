-- name: claim
-- Takes a key that is new, expired, or claimed by one who left it contested for too long. Times are of the moment, not
-- of the transaction's begin, which may have waited for the row.
insert into idempotency_keys as held (tenant_id, key_id, idempotency_key, fingerprint, claim_id, trace_id, expires_at)
values (%(tenant_id)s, %(key_id)s, %(key)s, %(fingerprint)s, %(claim_id)s, %(trace_id)s, now() + interval '1 day')
on conflict (tenant_id, key_id, idempotency_key) do update
set fingerprint = excluded.fingerprint, claim_id = excluded.claim_id, trace_id = excluded.trace_id, state = 'running',
    contested_at = null, expires_at = excluded.expires_at, is_stream = null, headers = null, body = null
where held.expires_at < clock_timestamp()
   or held.state = 'running' and held.contested_at < clock_timestamp() - make_interval(secs => %(lease_s)s)
returning claim_id

-- name: look
select fingerprint, trace_id, state, is_stream, headers::text as headers, body
from idempotency_keys
where tenant_id = %(tenant_id)s and key_id = %(key_id)s and idempotency_key = %(key)s

-- name: contest
update idempotency_keys set contested_at = clock_timestamp()
where tenant_id = %(tenant_id)s and key_id = %(key_id)s and idempotency_key = %(key)s
  and state = 'running' and contested_at is null

-- name: keep
update idempotency_keys
set state = case when %(body)s::bytea is null then 'too_large' else 'kept' end, is_stream = %(is_stream)s,
    headers = %(headers)s::jsonb, body = %(body)s, contested_at = null,
    expires_at = now() + make_interval(secs => %(keep_s)s)
where tenant_id = %(tenant_id)s and key_id = %(key_id)s and idempotency_key = %(key)s
  and claim_id = %(claim_id)s and state = 'running'

-- name: confirm
-- Rows are locked in the order of their key, so that two who go over the same rows wait and never in a circle.
update idempotency_keys held set contested_at = null
from (
  select tenant_id, key_id, idempotency_key, claim_id
  from idempotency_keys
  join unnest(%(tenant_ids)s::text[], %(key_ids)s::text[], %(keys)s::text[], %(claim_ids)s::text[])
    as mine (tenant_id, key_id, idempotency_key, claim_id) using (tenant_id, key_id, idempotency_key, claim_id)
  where state = 'running'
  order by tenant_id, key_id, idempotency_key
  for update of idempotency_keys
) mine
where held.tenant_id = mine.tenant_id and held.key_id = mine.key_id and held.idempotency_key = mine.idempotency_key
returning held.claim_id

-- name: release
delete from idempotency_keys held
using (
  select tenant_id, key_id, idempotency_key
  from idempotency_keys
  join unnest(%(tenant_ids)s::text[], %(key_ids)s::text[], %(keys)s::text[], %(claim_ids)s::text[])
    as mine (tenant_id, key_id, idempotency_key, claim_id) using (tenant_id, key_id, idempotency_key, claim_id)
  where state = 'running'
  order by tenant_id, key_id, idempotency_key
  for update of idempotency_keys
) mine
where held.tenant_id = mine.tenant_id and held.key_id = mine.key_id and held.idempotency_key = mine.idempotency_key

-- name: merge_claims
-- What journals say of claims that were not ended in here: an answer to be kept, or that there is none.
with ended as materialized (
  select held.*, doc->'claim'->'answer' as answer, (doc->'claim'->>'keep_s')::float8 as keep_s
  from (
    select doc from shipment where doc->'claim' is not null
    order by doc->>'tenant_id', doc->'claim'->>'key_id', doc->'claim'->>'key'
  ) told
  cross join lateral (
    select tenant_id, key_id, idempotency_key
    from idempotency_keys
    where tenant_id = doc->>'tenant_id' and key_id = doc->'claim'->>'key_id'
      and idempotency_key = doc->'claim'->>'key' and claim_id = doc->'claim'->>'claim_id' and state = 'running'
    for update
  ) held
), kept as (
  update idempotency_keys held
  set state = case when answer->>'body' is null then 'too_large' else 'kept' end,
      is_stream = (answer->>'is_stream')::boolean, headers = answer->'headers',
      body = decode(answer->>'body', 'base64'), contested_at = null,
      expires_at = now() + make_interval(secs => keep_s)
  from ended
  where held.tenant_id = ended.tenant_id and held.key_id = ended.key_id
    and held.idempotency_key = ended.idempotency_key and answer is not null
)
delete from idempotency_keys held
using ended
where held.tenant_id = ended.tenant_id and held.key_id = ended.key_id
  and held.idempotency_key = ended.idempotency_key and answer is null

-- name: sweep
delete from idempotency_keys
where (tenant_id, key_id, idempotency_key) in (
  select tenant_id, key_id, idempotency_key
  from idempotency_keys
  where expires_at < now()
  order by expires_at
  limit %(most)s
  for update skip locked
)
