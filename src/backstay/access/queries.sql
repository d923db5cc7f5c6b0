-- Tenants

-- name: add_tenant
insert into tenants (tenant_id) values (%(tenant_id)s) on conflict do nothing returning tenant_id

-- Keys. Notifications carry the prefix: every worker's key ring reads that one key again.

-- name: add_key
insert into keys (tenant_id, key_id, prefix, secret_hash, name, rights, models, routes, feature, tags, priority,
                  created_by, expires_at, requests_per_min, tokens_per_min, concurrency, principals)
values (%(tenant_id)s, %(key_id)s, %(prefix)s, %(secret_hash)s, %(name)s, %(rights)s, %(models)s, %(routes)s,
        %(feature)s, %(tags)s, %(priority)s, %(created_by)s, %(expires_at)s, %(requests_per_min)s,
        %(tokens_per_min)s, %(concurrency)s, %(principals)s)
returning *

-- name: list_keys
select * from keys where (%(before)s::text is null or key_id < %(before)s) order by key_id desc limit %(limit)s

-- name: lock_key
select * from keys where key_id = %(key_id)s for update

-- name: revoke_key
update keys set revoked_at = now() where key_id = %(key_id)s returning *

-- name: replace_key
update keys set replaced_by = %(replaced_by)s,
                expires_at = least(expires_at, now() + make_interval(secs => %(grace_s)s))
where key_id = %(key_id)s returning *

-- name: notify_keys
select pg_notify('backstay_keys', %(prefix)s)

-- name: live_keys
select tenant_id, key_id, prefix, secret_hash, name, rights, models, routes, feature, tags, priority, expires_at,
       revoked_at, replaced_by, requests_per_min, tokens_per_min, concurrency, principals
from keys
where revoked_at is null and (expires_at is null or expires_at > now())
limit %(limit)s

-- name: key_by_id
select tenant_id, key_id, prefix, secret_hash, name, rights, models, routes, feature, tags, priority, expires_at,
       revoked_at, replaced_by, requests_per_min, tokens_per_min, concurrency, principals
from keys
where tenant_id = %(tenant_id)s and key_id = %(key_id)s

-- name: keys_by_prefix
select tenant_id, key_id, prefix, secret_hash, name, rights, models, routes, feature, tags, priority, expires_at,
       revoked_at, replaced_by, requests_per_min, tokens_per_min, concurrency, principals
from keys
where prefix = any(%(prefixes)s)

-- People

-- name: add_person
insert into people (tenant_id, person_id, email, role) values (%(tenant_id)s, %(person_id)s, %(email)s, %(role)s)
on conflict (tenant_id, email) do nothing
returning *, null::timestamptz as last_signed_in_at

-- name: list_people
select p.*, (select max(s.created_at) from sessions s where s.tenant_id = p.tenant_id and s.person_id = p.person_id)
         as last_signed_in_at
from people p
order by p.email

-- name: lock_admins
select person_id from people where role = 'admin' and disabled_at is null order by person_id for update

-- name: find_person
select *, null::timestamptz as last_signed_in_at from people where person_id = %(person_id)s

-- name: set_role
update people set role = %(role)s where person_id = %(person_id)s
returning *, null::timestamptz as last_signed_in_at

-- name: set_disabled
update people set disabled_at = case when %(disabled)s then coalesce(disabled_at, now()) end
where person_id = %(person_id)s
returning *, null::timestamptz as last_signed_in_at

-- name: set_password
update people set password_hash = %(password_hash)s where person_id = %(person_id)s

-- name: people_by_email
select *, null::timestamptz as last_signed_in_at from people where email = %(email)s and disabled_at is null and password_hash is not null
order by created_at limit 4

-- Login links

-- name: add_link
insert into login_links (tenant_id, token_hash, person_id, expires_at)
values (%(tenant_id)s, %(token_hash)s, %(person_id)s, now() + make_interval(secs => %(valid_s)s))
returning expires_at

-- name: use_link
update login_links l set used_at = now()
from people p
where l.token_hash = %(token_hash)s and l.used_at is null and l.expires_at > now()
  and p.tenant_id = l.tenant_id and p.person_id = l.person_id and p.disabled_at is null
returning l.tenant_id, l.person_id

-- name: end_links
update login_links set used_at = now() where person_id = %(person_id)s and used_at is null

-- Sessions

-- name: add_session
insert into sessions (tenant_id, token_hash, person_id, csrf_token, expires_at, user_agent)
values (%(tenant_id)s, %(token_hash)s, %(person_id)s, %(csrf_token)s, now() + make_interval(secs => %(valid_s)s),
        %(user_agent)s)

-- name: find_session
select s.token_hash, s.csrf_token, s.created_at as session_created_at, s.expires_at as session_expires_at,
       s.user_agent, p.*, s.created_at as last_signed_in_at
from sessions s join people p using (tenant_id, person_id)
where s.token_hash = %(token_hash)s and s.revoked_at is null and s.expires_at > now() and p.disabled_at is null

-- name: list_sessions
select s.token_hash, s.csrf_token, s.created_at as session_created_at, s.expires_at as session_expires_at,
       s.user_agent, p.*, s.created_at as last_signed_in_at
from sessions s join people p using (tenant_id, person_id)
where s.revoked_at is null and s.expires_at > now() and p.disabled_at is null
  and (%(person_id)s::text is null or p.person_id = %(person_id)s)
order by s.created_at desc limit 500

-- name: revoke_session
update sessions set revoked_at = now() where token_hash = %(token_hash)s and revoked_at is null
returning tenant_id, person_id

-- name: revoke_sessions
update sessions set revoked_at = now()
where person_id = %(person_id)s and revoked_at is null and token_hash <> %(except_hash)s

-- Audit

-- name: record
insert into audit_log (tenant_id, actor, action, subject, detail)
values (%(tenant_id)s, %(actor)s, %(action)s, %(subject)s, %(detail)s)

-- name: list_audit
select audit_id, at, actor, action, subject, detail from audit_log
where (%(before)s::bigint is null or audit_id < %(before)s)
  and (%(action)s::text is null or action = %(action)s)
  and (%(subject)s::text is null or subject = %(subject)s)
order by audit_id desc limit %(limit)s
