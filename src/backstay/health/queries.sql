-- name: report
insert into target_states (worker, target, state, at)
select %(worker)s, each.target, each.state, now()
from jsonb_to_recordset(%(states)s::jsonb) as each (target text, state jsonb)
on conflict (worker, target) do update set state = excluded.state, at = excluded.at;

-- name: reports
select worker, target, state::text as state, extract(epoch from now() - at)::float8 as age_s
from target_states
where at > now() - make_interval(secs => %(age_s)s)
order by target, worker;

-- name: askers
select target, count(*)::int as askers
from target_states
where worker <> %(worker)s and at > now() - make_interval(secs => %(age_s)s) and (state ->> 'recent_tries')::int > 0
group by target;

-- name: forget_old
delete from target_states where at < now() - interval '1 hour';

-- name: tell
select pg_notify('backstay_targets', %(word)s);

-- name: drained
select target, by_whom, at from target_drains order by target;

-- name: drain
insert into target_drains (target, by_whom) values (%(target)s, %(by)s)
on conflict (target) do nothing;

-- name: undrain
delete from target_drains where target = %(target)s;
