-- name: keep
insert into responses (tenant_id, response_id, key_id, previous_id, target, said, response, expires_at)
values (%(tenant_id)s, %(response_id)s, %(key_id)s, %(previous_id)s, %(target)s, %(said)s, %(response)s,
        now() + %(days)s * interval '1 day')
on conflict do nothing

-- name: merge_responses
insert into responses (tenant_id, response_id, key_id, previous_id, target, said, response, expires_at)
select doc->>'tenant_id', turn->>'response_id', turn->>'key_id', turn->>'previous_id', turn->>'target', input, output,
       now() + (turn->>'days')::int * interval '1 day'
from (select doc, doc->'turn' as turn, input, output from shipment where doc ? 'turn') shipped
on conflict do nothing

-- name: keys_of
-- A key, and those that it was put in the place of: a rotated key goes on with its conversations.
with recursive mine (key_id) as (
  select %(key_id)s::text
  union
  select keys.key_id from keys join mine on keys.replaced_by = mine.key_id where keys.tenant_id = %(tenant_id)s
)
select key_id from mine

-- name: follow
-- The turns of a conversation, the newest first, until a bound is passed. Only the newest must not have expired:
-- what it goes on from is kept as long as itself.
with recursive walk as (
  select response_id, key_id, previous_id, target, said, response, 1 as turns,
         coalesce(length(said), 0) + coalesce(length(response), 0)::bigint as size
  from responses
  where tenant_id = %(tenant_id)s and response_id = %(response_id)s and (expires_at > now() or not %(is_newest)s)
    and (%(key_ids)s::text[] is null or key_id = any(%(key_ids)s))
  union all
  select older.response_id, older.key_id, older.previous_id, older.target, older.said, older.response, walk.turns + 1,
         walk.size + coalesce(length(older.said), 0) + coalesce(length(older.response), 0)
  from walk join responses older on older.tenant_id = %(tenant_id)s and older.response_id = walk.previous_id
  where walk.turns < %(max_turns)s and walk.size < %(max_size)s and walk.target is null
    and (%(key_ids)s::text[] is null or older.key_id = any(%(key_ids)s))
)
select response_id, key_id, previous_id, target, said, response from walk order by turns

-- name: find
select response_id, key_id, previous_id, target, said, response
from responses
where tenant_id = %(tenant_id)s and response_id = %(response_id)s and expires_at > now()
  and (%(key_ids)s::text[] is null or key_id = any(%(key_ids)s))

-- name: delete
delete from responses
where tenant_id = %(tenant_id)s and response_id = %(response_id)s
  and (%(key_ids)s::text[] is null or key_id = any(%(key_ids)s))

-- name: which_are_there
select tenant_id, response_id from responses where response_id = any(%(response_ids)s)

-- name: expire
-- Only the newest turns of what has expired: those before them go when nothing hangs on them any more.
delete from responses
where (tenant_id, response_id) in (
  select old.tenant_id, old.response_id
  from responses old
  where old.expires_at < now() and not exists (
    select from responses later where later.tenant_id = old.tenant_id and later.previous_id = old.response_id
  )
  limit %(batch)s
  for update skip locked
)
