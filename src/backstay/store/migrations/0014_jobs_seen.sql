-- What people see of calls that are made later: what they cost, which lines of an ended batch failed; and the end of
-- files. What a line cost comes with its answer; a batch's own sum is made from the ledger when it ends. Null: nothing
-- is known yet; a row of before this keeps it. Single calls that have not ended are counted before another is taken in.
alter table job_calls add column cost_nanousd bigint;
alter table batches add column cost_nanousd bigint, add column unknown_costs int not null default 0;
alter table files add column expires_at timestamptz;

create index files_expiry on files (expires_at) where expires_at is not null;
create index job_calls_single on job_calls (tenant_id, created_at desc, job_id desc) where batch_id is null;
create index job_calls_failed_lines on job_calls (finished_at) where batch_id is not null and state = 'failed';
create index job_calls_unfinished on job_calls (tenant_id, key_id)
  where batch_id is null and state in ('waiting', 'running');
