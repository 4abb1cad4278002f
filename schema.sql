-- The progress of long jobs: one table, what its rows may say, how their changes are ordered and told, and who may
-- see them.
--
-- For PostgreSQL 15 and newer, and for Supabase. Apply it as the role that the service and its workers use:
--
--     progress-service schema --apply      or      psql "$DATABASE_URL" -v ON_ERROR_STOP=1 -f schema.sql
--
-- It is one transaction, and may be applied again at any time. A table of the older, shorter shape is upgraded in
-- place: every row is kept, even one that breaks a rule of today, and a warning says how many do. The table is locked
-- meanwhile: about ten seconds for half a million older rows, and a fraction of a second from then on.
--
-- Whatever there is to say comes as a warning, since a notice would drown in PostgreSQL's own ("already exists,
-- skipping").

BEGIN;

SET LOCAL client_min_messages = warning;

-- Give up rather than make every writer queue behind us while we wait for somebody's long transaction.
SET LOCAL lock_timeout = '10s';

-- Everything goes into one schema: the one that has the table already, or else the one where new tables go. No other
-- is searched from here on, and the functions below keep this path, whatever the path of their callers.
DO $$
BEGIN
    PERFORM set_config('search_path', format('%I, pg_temp', coalesce(
        (SELECT nspname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
            WHERE pg_class.oid = to_regclass('bulk_enrichment_jobs')),
        current_schema(),
        'public'
    )), true);

    -- Two people who apply this at once take turns.
    PERFORM pg_advisory_xact_lock(hashtextextended('schema of bulk_enrichment_jobs', 0));
END
$$;


-- 1. The table

-- The people whose jobs they are. Most applications have a table of users, and Supabase has auth.users; this one is
-- for the rest.
DO $$
BEGIN
    IF to_regclass('users') IS NULL AND to_regclass('auth.users') IS NULL THEN
        CREATE TABLE users (
            id         uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
            created_at timestamptz NOT NULL DEFAULT now()
        );
    END IF;
END
$$;

-- The older shape comes first even in a new database, so that upgraded tables and new ones come out the same.
CREATE TABLE IF NOT EXISTS bulk_enrichment_jobs (
    id         uuid PRIMARY KEY,
    user_id    uuid,
    status     text,
    progress   jsonb,
    created_at timestamptz,
    updated_at timestamptz
);

-- An older table may differ: a rule that allows fewer statuses than there are now, statuses as an enum, dates without
-- a time zone. Such dates are read as UTC, because the frameworks that create them mean UTC. If a view or a policy of
-- the application's depends on such a column, PostgreSQL stops here and names it: drop it before, restore it after.
DO $$
DECLARE
    old record;
    old_index record;
    index_statements text[];
    index_statement text;
BEGIN
    FOR old IN
        SELECT conname AS name
        FROM pg_constraint JOIN pg_attribute ON attrelid = conrelid AND conkey = ARRAY[attnum]
        WHERE conrelid = 'bulk_enrichment_jobs'::regclass AND contype = 'c'
            AND attname = 'status' AND conname <> 'status_is_known'
    LOOP
        EXECUTE format('ALTER TABLE bulk_enrichment_jobs DROP CONSTRAINT %I', old.name);
    END LOOP;

    FOR old IN
        SELECT attname AS name, format_type(atttypid, NULL) AS type, today.type AS new_type, today.reading
        FROM pg_attribute JOIN (VALUES
            ('status',     'text'::regtype, '%I::text'),
            ('progress',   'jsonb',         '%I::jsonb'),
            ('created_at', 'timestamptz',   '%I::timestamp AT TIME ZONE ''UTC'''),
            ('updated_at', 'timestamptz',   '%I::timestamp AT TIME ZONE ''UTC''')
        ) AS today (name, type, reading) ON attname = today.name
        WHERE attrelid = 'bulk_enrichment_jobs'::regclass AND atttypid <> today.type
    LOOP
        -- A partial index, say on the running jobs, names the old type. It is made again with the new one.
        index_statements := '{}';
        FOR old_index IN
            SELECT indexrelid::regclass AS name, pg_get_indexdef(indexrelid) AS statement
            FROM pg_index
            WHERE indrelid = 'bulk_enrichment_jobs'::regclass
                AND position('::' || old.type IN pg_get_expr(indpred, indrelid)) > 0
        LOOP
            index_statements := index_statements
                || replace(old_index.statement, '::' || old.type, '::' || old.new_type);
            EXECUTE format('DROP INDEX %s', old_index.name);
        END LOOP;

        EXECUTE format(
            'ALTER TABLE bulk_enrichment_jobs ALTER %1$I DROP DEFAULT, ALTER %1$I TYPE %2$s USING %3$s',
            old.name, old.new_type, format(old.reading, old.name)
        );
        FOREACH index_statement IN ARRAY index_statements LOOP
            EXECUTE index_statement;
        END LOOP;
    END LOOP;
END
$$;

ALTER TABLE bulk_enrichment_jobs
    ADD COLUMN IF NOT EXISTS label        text,
    ADD COLUMN IF NOT EXISTS requested    text,
    ADD COLUMN IF NOT EXISTS error        text,
    ADD COLUMN IF NOT EXISTS revision     bigint  NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS exclusive    boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS started_at   timestamptz,
    ADD COLUMN IF NOT EXISTS finished_at  timestamptz,
    ADD COLUMN IF NOT EXISTS heartbeat_at timestamptz,
    -- What workers and the service need to know, and people are not told.
    ADD COLUMN IF NOT EXISTS lease_token        uuid,
    ADD COLUMN IF NOT EXISTS lease_seconds      double precision NOT NULL DEFAULT 30,
    ADD COLUMN IF NOT EXISTS cursor             jsonb,
    ADD COLUMN IF NOT EXISTS ended_by           text,
    ADD COLUMN IF NOT EXISTS idempotency_key    text,
    ADD COLUMN IF NOT EXISTS idempotency_digest text,
    ADD COLUMN IF NOT EXISTS told_at            timestamptz,
    ALTER COLUMN id         SET DEFAULT gen_random_uuid(),
    ALTER COLUMN status     SET DEFAULT 'pending',
    ALTER COLUMN progress   SET DEFAULT '{"total": 0, "completed": 0, "failed": 0, "current_batch": 0}',
    ALTER COLUMN created_at SET DEFAULT now(),
    ALTER COLUMN updated_at SET DEFAULT now();

-- Leave room on each page for the next versions of its rows, which then need no new index entries (section 6).
ALTER TABLE bulk_enrichment_jobs SET (fillfactor = 80);

COMMENT ON TABLE  bulk_enrichment_jobs              IS 'Long jobs, and how far they are';
COMMENT ON COLUMN bulk_enrichment_jobs.label        IS 'What people call the job';
COMMENT ON COLUMN bulk_enrichment_jobs.status       IS 'pending, running, paused, completed, failed or cancelled';
COMMENT ON COLUMN bulk_enrichment_jobs.requested    IS 'What a person asks of the worker: pause, resume or cancel';
COMMENT ON COLUMN bulk_enrichment_jobs.progress     IS 'total (0: unknown), completed, failed, current_batch, …';
COMMENT ON COLUMN bulk_enrichment_jobs.error        IS 'Why the job failed, in words for people';
COMMENT ON COLUMN bulk_enrichment_jobs.revision     IS 'Order of all that is said of this row; raised by a trigger';
COMMENT ON COLUMN bulk_enrichment_jobs.exclusive    IS 'Whether the user''s other exclusive jobs wait for this one';
COMMENT ON COLUMN bulk_enrichment_jobs.updated_at   IS 'When people last could see a change; kept by a trigger';
COMMENT ON COLUMN bulk_enrichment_jobs.finished_at  IS 'When the job completed, failed or was cancelled';
COMMENT ON COLUMN bulk_enrichment_jobs.heartbeat_at IS 'The worker''s last sign of life, of which nobody is told';
COMMENT ON COLUMN bulk_enrichment_jobs.lease_token  IS 'Whose job it is at the moment: only who shows it may report';
COMMENT ON COLUMN bulk_enrichment_jobs.lease_seconds IS 'How long the worker may be silent until it counts as lost';
COMMENT ON COLUMN bulk_enrichment_jobs.cursor       IS 'Where the next worker goes on if this one is lost';
COMMENT ON COLUMN bulk_enrichment_jobs.ended_by     IS 'worker, user or reaper; null if it has not ended or nobody said';
COMMENT ON COLUMN bulk_enrichment_jobs.idempotency_key IS 'The key of the request that made the job; it makes no second';
COMMENT ON COLUMN bulk_enrichment_jobs.idempotency_digest IS 'What that request asked for, as a hash';
COMMENT ON COLUMN bulk_enrichment_jobs.told_at      IS 'When listeners last were told of an update; kept by a trigger';

-- Fill in what older rows lack. This is bookkeeping and not news, so no trigger may fire: not the application's own,
-- which would date every row anew, and not ours. Afterwards each is enabled again the way it was.
DO $$
DECLARE
    loud record;
    restoring text[] := '{}';
    statement text;
BEGIN
    IF NOT EXISTS (
        SELECT FROM bulk_enrichment_jobs
        WHERE status IS NULL OR progress IS NULL OR created_at IS NULL OR updated_at IS NULL
            OR (status IN ('completed', 'failed', 'cancelled') AND finished_at IS NULL)
    ) THEN
        RETURN;
    END IF;

    FOR loud IN
        SELECT tgname AS trigger,
            CASE tgenabled WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE' END AS enabling
        FROM pg_trigger
        WHERE tgrelid = 'bulk_enrichment_jobs'::regclass AND NOT tgisinternal AND tgenabled <> 'D'
    LOOP
        EXECUTE format('ALTER TABLE bulk_enrichment_jobs DISABLE TRIGGER %I', loud.trigger);
        restoring := restoring
            || format('ALTER TABLE bulk_enrichment_jobs %s TRIGGER %I', loud.enabling, loud.trigger);
    END LOOP;

    UPDATE bulk_enrichment_jobs SET
        status = coalesce(status, 'pending'),
        progress = coalesce(progress, '{"total": 0, "completed": 0, "failed": 0, "current_batch": 0}'),
        created_at = coalesce(created_at, updated_at, now()),
        updated_at = coalesce(updated_at, created_at, now()),
        -- Nothing nearer to the end is known than the last time that the row was written.
        finished_at = CASE WHEN status IN ('completed', 'failed', 'cancelled')
            THEN coalesce(finished_at, updated_at, created_at, now()) END
    WHERE status IS NULL OR progress IS NULL OR created_at IS NULL OR updated_at IS NULL
        OR (status IN ('completed', 'failed', 'cancelled') AND finished_at IS NULL);

    FOREACH statement IN ARRAY restoring LOOP
        EXECUTE statement;
    END LOOP;
END
$$;

ALTER TABLE bulk_enrichment_jobs
    ALTER COLUMN status     SET NOT NULL,
    ALTER COLUMN progress   SET NOT NULL,
    ALTER COLUMN created_at SET NOT NULL,
    ALTER COLUMN updated_at SET NOT NULL;

-- If an older table already says what user_id refers to, that stays.
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_constraint JOIN pg_attribute ON attrelid = conrelid AND conkey = ARRAY[attnum]
        WHERE conrelid = 'bulk_enrichment_jobs'::regclass AND contype = 'f' AND attname = 'user_id'
    ) THEN
        EXECUTE format(
            'ALTER TABLE bulk_enrichment_jobs ADD CONSTRAINT bulk_enrichment_jobs_user_id_fkey '
            'FOREIGN KEY (user_id) REFERENCES %s (id) NOT VALID',
            coalesce(to_regclass('users'), to_regclass('auth.users'))
        );
    END IF;
END
$$;


-- 2. What a row may say
--
-- Whoever breaks a rule gets to read its name, so each name is a sentence. In progress, a missing key counts as 0,
-- other keys than ours are kept, and counts end at 2^53 - 1, as a browser's whole numbers do. A current_batch of null
-- counts as 0 too: older programs write it before the first batch. A rule must refuse bad input and not stumble over
-- it, so every cast is preceded by a look at the type.
--
-- All rules are in one function, and one constraint calls it, because PostgreSQL parses and plans the conditions of a
-- table again for every statement, but a function only once in a session (docs/decisions/0012). The function gets the
-- whole row for the same reason. What it says counts as well: once in a transaction, each statement in it that is
-- reached is made ready to run, at a price for each function and operator. So the first statement tells the usual row
-- from all others, with one operator for all of progress, and only those come to the rest.

-- The names of the rules that the row breaks; null if it keeps them all. If asked to, it raises the first of them, as
-- PostgreSQL would for a constraint of that name.
CREATE OR REPLACE FUNCTION bulk_enrichment_jobs_broken_rules(job bulk_enrichment_jobs, raises boolean) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    broken text[] := '{}';
    key text;
    value jsonb;
BEGIN
    -- All counts are there, and fit in a total that is known. "strict" is null where a key is missing, or no number.
    IF job.status IN ('pending', 'running', 'paused', 'completed', 'failed', 'cancelled')
        AND coalesce(job.requested, job.ended_by) IS NULL
        AND coalesce(char_length(job.label), 0) <= 200 AND coalesce(char_length(job.idempotency_key), 0) <= 200
        AND job.lease_seconds > 0 AND job.lease_seconds <= 31622400
        AND NOT ARRAY[job.created_at, job.updated_at, job.started_at, job.finished_at] && '{-infinity, infinity}'
        AND job.progress @@ 'strict $.total <= 9007199254740991 && $.total % 1 == 0
            && $.completed >= 0 && $.completed % 1 == 0 && $.failed >= 0 && $.failed % 1 == 0
            && $.completed + $.failed <= $.total
            && $.current_batch >= 0 && $.current_batch <= 9007199254740991 && $.current_batch % 1 == 0'
    THEN
        RETURN NULL;
    END IF;

    IF job.status NOT IN ('pending', 'running', 'paused', 'completed', 'failed', 'cancelled') THEN
        broken := broken || 'status_is_known'::text;
    END IF;
    IF char_length(job.label) > 200 THEN
        broken := broken || 'label_has_at_most_200_characters'::text;
    END IF;
    IF NOT (job.lease_seconds > 0 AND job.lease_seconds <= 31622400) THEN
        broken := broken || 'lease_lasts_at_most_a_year'::text;
    END IF;
    IF ARRAY[job.created_at, job.updated_at, job.started_at, job.finished_at] && '{-infinity, infinity}' THEN
        broken := broken || 'dates_are_finite'::text;
    END IF;

    IF coalesce(job.requested, job.ended_by, job.idempotency_key) IS NOT NULL THEN
        IF job.requested NOT IN ('pause', 'resume', 'cancel') THEN
            broken := broken || 'requested_is_pause_resume_or_cancel'::text;
        END IF;
        IF job.ended_by NOT IN ('worker', 'user', 'reaper') THEN
            broken := broken || 'ended_by_worker_user_or_reaper'::text;
        END IF;
        IF char_length(job.idempotency_key) > 200 THEN
            broken := broken || 'idempotency_key_has_at_most_200_characters'::text;
        END IF;
    END IF;

    IF jsonb_typeof(job.progress) <> 'object' THEN
        broken := broken || 'progress_is_an_object'::text;
    END IF;
    FOREACH key IN ARRAY '{total, completed, failed, current_batch}'::text[] LOOP
        value := job.progress -> key;
        -- In the order of JSON values, nothing but a number is between two numbers.
        IF (CASE WHEN value BETWEEN '0' AND '9007199254740991' THEN value::numeric % 1 <> 0
            ELSE value IS NOT NULL END)
        THEN
            IF key <> 'current_batch' THEN
                broken := broken || format('progress_%s_is_a_whole_number', key);
            ELSIF value <> 'null' THEN
                broken := broken || 'progress_current_batch_is_a_whole_number_or_null'::text;
            END IF;
        END IF;
    END LOOP;

    IF broken = '{}' THEN
        -- What is there are numbers, then. A total of 0 is not known.
        IF job.progress -> 'total' > '0' AND (job.progress -> 'total')::numeric <
            coalesce((job.progress -> 'completed')::numeric, 0) + coalesce((job.progress -> 'failed')::numeric, 0)
        THEN
            broken := '{progress_completed_and_failed_fit_in_total}';
        ELSE
            RETURN NULL;
        END IF;
    END IF;
    IF raises THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation', TABLE = 'bulk_enrichment_jobs', CONSTRAINT = broken[1],
            MESSAGE = format('new row for relation "bulk_enrichment_jobs" violates check constraint "%s"', broken[1]),
            DETAIL = format('Failing row contains %s.', left(job::text, 1000));
    END IF;
    RETURN broken;
END
$$;

-- Older tables have a constraint for each rule.
ALTER TABLE bulk_enrichment_jobs
    DROP CONSTRAINT IF EXISTS status_is_known,
    DROP CONSTRAINT IF EXISTS requested_is_pause_resume_or_cancel,
    DROP CONSTRAINT IF EXISTS label_has_at_most_200_characters,
    DROP CONSTRAINT IF EXISTS lease_lasts_at_most_a_year,
    DROP CONSTRAINT IF EXISTS ended_by_worker_user_or_reaper,
    DROP CONSTRAINT IF EXISTS idempotency_key_has_at_most_200_characters,
    DROP CONSTRAINT IF EXISTS dates_are_finite,
    DROP CONSTRAINT IF EXISTS progress_is_an_object,
    DROP CONSTRAINT IF EXISTS progress_total_is_a_whole_number,
    DROP CONSTRAINT IF EXISTS progress_completed_is_a_whole_number,
    DROP CONSTRAINT IF EXISTS progress_failed_is_a_whole_number,
    DROP CONSTRAINT IF EXISTS progress_current_batch_is_a_whole_number,
    DROP CONSTRAINT IF EXISTS progress_current_batch_is_a_whole_number_or_null,
    DROP CONSTRAINT IF EXISTS progress_completed_and_failed_fit_in_total;
DROP FUNCTION IF EXISTS bulk_enrichment_jobs_is_count(jsonb), bulk_enrichment_jobs_counts_fit(jsonb);

-- A rule that changes must be checked anew, which PostgreSQL cannot know: it has seen the rows keep what the function
-- said then. So the constraint's comment has a digest of that.
DO $$
DECLARE
    known constant text := (
        SELECT obj_description(oid, 'pg_constraint') FROM pg_constraint
        WHERE conrelid = 'bulk_enrichment_jobs'::regclass AND conname = 'every_rule_is_kept'
    );
    current constant text := (
        SELECT format('The rules of the function bulk_enrichment_jobs_broken_rules, as of %s', md5(prosrc))
        FROM pg_proc WHERE oid = 'bulk_enrichment_jobs_broken_rules'::regproc
    );
BEGIN
    IF known IS DISTINCT FROM current THEN
        -- NOT VALID: it binds whatever is written from now on, and leaves what is there alone.
        ALTER TABLE bulk_enrichment_jobs
            DROP CONSTRAINT IF EXISTS every_rule_is_kept,
            ADD CONSTRAINT every_rule_is_kept
                CHECK (bulk_enrichment_jobs_broken_rules(bulk_enrichment_jobs, true) IS NULL) NOT VALID;
        EXECUTE format('COMMENT ON CONSTRAINT every_rule_is_kept ON bulk_enrichment_jobs IS %L', current);
    END IF;
END
$$;

-- Then see whether the older rows keep the rules too, and if not, say how many do not.
DO $$
DECLARE
    unproven record;
    rule record;
BEGIN
    FOR unproven IN
        SELECT conname AS name
        FROM pg_constraint
        WHERE conrelid = 'bulk_enrichment_jobs'::regclass AND NOT convalidated
            AND (conname = 'every_rule_is_kept' OR contype = 'f')
        ORDER BY contype DESC, conname
    LOOP
        BEGIN
            EXECUTE format('ALTER TABLE bulk_enrichment_jobs VALIDATE CONSTRAINT %I', unproven.name);
        EXCEPTION
            WHEN check_violation THEN
                FOR rule IN
                    SELECT name, count(*) AS offenders
                    FROM bulk_enrichment_jobs AS job, unnest(bulk_enrichment_jobs_broken_rules(job, false)) AS name
                    GROUP BY name ORDER BY name
                LOOP
                    RAISE WARNING '% older row(s) of bulk_enrichment_jobs break the rule "%"', rule.offenders, rule.name
                        USING HINT = 'They were kept, but cannot be shown. Mend them, and apply the schema again.';
                END LOOP;
            WHEN foreign_key_violation THEN
                RAISE WARNING 'older rows of bulk_enrichment_jobs belong to users who are not there'
                    USING HINT = 'They were kept. Mend them, and apply the schema again.';
        END;
    END LOOP;
END
$$;


-- 3. How changes are ordered
--
-- Readers hear of a row from several sides: a snapshot, a notification, a second look. The revision alone tells which
-- of two reports is the newer one. It is raised here, while the row is locked, and nowhere else. A clock or a sequence
-- could not replace it, since transactions do not become visible in the order in which they asked for a number.
--
-- A new row starts at the microsecond of its creation. So when an id is deleted and used again, its second life is
-- ahead of its first, of which late reports may still be on their way.
--
-- Triggers fire in the order of their names, and the application may have its own. "zz" comes after those and sees
-- what they did.
--
-- Here it is also decided which updates are told (section 4): all that people see, but for progress that follows
-- within the silence after another update was told. told_at is when that was. The silence is no longer than the
-- time between two writes of our own workers, so that theirs are told always.
--
-- The trigger names nothing but what is PostgreSQL's own, with operands of exactly the types that it is made for, so
-- that it does without a path of its own: to set that, and to set it back, is a price for each row
-- (docs/decisions/0012). That is why the silence is written in it once more.

CREATE OR REPLACE FUNCTION bulk_enrichment_jobs_silence() RETURNS interval
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT interval '250 ms' $$;

CREATE OR REPLACE FUNCTION bulk_enrichment_jobs_keep_order() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    moment constant timestamptz := pg_catalog.clock_timestamp();
BEGIN
    IF NEW.status IN ('completed', 'failed', 'cancelled') THEN
        NEW.finished_at := coalesce(NEW.finished_at, moment);
    ELSIF NEW.finished_at IS NOT NULL THEN
        NEW.finished_at := NULL;
    END IF;

    IF TG_OP = 'INSERT' THEN
        IF NEW.status = 'running' THEN
            NEW.started_at := coalesce(NEW.started_at, moment);
        END IF;
        NEW.revision := extract(epoch FROM moment) * 1000000.0;
        NEW.told_at := NULL;
        RETURN NEW;
    END IF;

    IF NEW.id <> OLD.id THEN
        RAISE EXCEPTION 'the id of a job never changes, and this would make % of %', NEW.id, OLD.id
            USING ERRCODE = 'check_violation', TABLE = TG_TABLE_NAME, CONSTRAINT = 'id_never_changes',
                  HINT = 'Insert another job, and delete this one.';
    END IF;
    IF NEW.status = 'running' AND OLD.status <> 'running' THEN
        NEW.started_at := coalesce(NEW.started_at, moment);
    END IF;

    -- Progress comes first, since it is what changes most often.
    IF NEW.progress = OLD.progress
        AND (NEW.label, NEW.status, NEW.requested, NEW.error, NEW.user_id,
            NEW.created_at, NEW.started_at, NEW.finished_at)
        IS NOT DISTINCT FROM (OLD.label, OLD.status, OLD.requested, OLD.error, OLD.user_id,
            OLD.created_at, OLD.started_at, OLD.finished_at)
    THEN
        -- Nothing that people see has changed; it may have been a sign of life.
        NEW.revision := OLD.revision;
        NEW.updated_at := OLD.updated_at;
        NEW.told_at := OLD.told_at;
        RETURN NEW;
    END IF;

    NEW.revision := OLD.revision + 1;
    NEW.updated_at := moment;
    NEW.told_at := OLD.told_at;
    IF TG_NARGS > 0 THEN
        RETURN NEW;  -- Nobody is told of anything.
    END IF;
    -- Where a clock was set back there is no silence.
    IF moment < OLD.told_at + interval '250 ms' AND moment >= OLD.told_at THEN
        IF NEW.finished_at IS NULL
            AND (NEW.label, NEW.status, NEW.requested, NEW.error, NEW.user_id,
                NEW.created_at, NEW.started_at, NEW.finished_at)
            IS NOT DISTINCT FROM (OLD.label, OLD.status, OLD.requested, OLD.error, OLD.user_id,
                OLD.created_at, OLD.started_at, OLD.finished_at)
        THEN
            RETURN NEW;
        END IF;
    END IF;
    NEW.told_at := moment;
    -- For this transaction, and for who tells of its statements: there is something to be told.
    PERFORM pg_catalog.set_config('progress_service.tells', 'on', true);
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER zz_keep_order BEFORE INSERT OR UPDATE ON bulk_enrichment_jobs
    FOR EACH ROW EXECUTE FUNCTION bulk_enrichment_jobs_keep_order();


-- 4. How changes are told
--
-- Snapshots, notifications and look-ups report a job in one and the same shape. How long ago it finished is given as
-- an age, because the clocks of two machines do not agree on a date. A long error is cut short in the report and stays
-- whole in the row.

CREATE OR REPLACE FUNCTION bulk_enrichment_job_report(job bulk_enrichment_jobs) RETURNS json
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT json_build_object(
        'id', job.id,
        'user_id', job.user_id,
        'label', job.label,
        'status', job.status,
        'requested', job.requested,
        'progress', job.progress,
        'error', left(job.error, 2000),
        'revision', job.revision,
        'created_at', job.created_at,
        'started_at', job.started_at,
        'updated_at', job.updated_at,
        'finished_at', job.finished_at,
        'finished_seconds', CASE WHEN isfinite(job.finished_at)
            THEN greatest(0, extract(epoch FROM statement_timestamp() - job.finished_at)) END
    )
$$;

-- Every statement that changes rows says so on the channel "bulk_enrichment_jobs", with payloads like these:
--
--     {"reported": [job, ...]}                             rows that are new, or that changed for people to see
--     {"fetch": [id, ...]}                                 the same, for rows too long to be sent: look them up
--     {"deleted": [{"id", "user_id", "revision"}, ...]}    rows that are gone
--     {"resync": "truncate"}                               all rows are gone
--
-- Of a job that gets on quickly, not every step is told: each notification has its price, commits that notify wait for
-- one another, and no screen shows a hundred steps a second. Once an update of a job is told, those that follow within
-- the next bulk_enrichment_jobs_silence() and change nothing but its progress are not. Whatever changes more than that,
-- and whatever befalls a job that has ended, is told at once.
--
-- So whoever hears of a job at work has to look at its row again, once its silence is over by the clock of the database:
-- told_at <= now() - bulk_enrichment_jobs_silence(). If xmax is 0 then, what is seen is all that was written in silence,
-- because PostgreSQL locks a row, and xmax shows that, before the trigger of section 3 looks at the clock. If it is not,
-- a transaction may be open that wrote before: look again later, until xmax is 0, or until every transaction is over
-- that was open at that second look (a lock or a rollback leaves its trace in xmax). The rows of a snapshot are to be
-- looked at in the same way. docs/decisions/0013 has the reasons.
--
-- There is one notification for a statement, not one for a row, for the same reason; and as many pieces as it takes,
-- since PostgreSQL allows a payload 7,999 bytes. The function that sends is a trigger function, which nobody
-- can call directly to forge a message. Anyone who can connect to this database can listen to all of it, so give
-- people tokens and not connections.

CREATE OR REPLACE FUNCTION bulk_enrichment_jobs_notify() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    word constant text := CASE TG_OP WHEN 'DELETE' THEN 'deleted' ELSE 'reported' END;
    bytes_max constant int := 7999 - octet_length('{"reported":[]}');
    ids_max constant int := 200;
    ids uuid[];
    items text[];
    piece text := '';
    too_long uuid[] := '{}';
BEGIN
    CASE TG_OP
        WHEN 'INSERT' THEN
            SELECT array_agg(id), array_agg(bulk_enrichment_job_report(job)::text)
            INTO ids, items
            FROM rows_after AS job;
        WHEN 'UPDATE' THEN
            -- Section 3 has given both the same moment where it is to be told. A row of which only a sign of life was
            -- written may be among these; what it says is known, and if it is all, PostgreSQL sends it once.
            SELECT array_agg(id), array_agg(bulk_enrichment_job_report(job)::text)
            INTO ids, items
            FROM rows_after AS job
            WHERE told_at = updated_at;
        WHEN 'DELETE' THEN
            SELECT array_agg(id),
                array_agg(json_build_object('id', id, 'user_id', user_id, 'revision', revision)::text)
            INTO ids, items
            FROM rows_before;
        WHEN 'TRUNCATE' THEN
            PERFORM pg_notify('bulk_enrichment_jobs', '{"resync":"truncate"}');
    END CASE;

    FOR n IN 1 .. coalesce(cardinality(items), 0) LOOP
        IF octet_length(items[n]) > bytes_max THEN
            too_long := too_long || ids[n];
        ELSIF piece = '' THEN
            piece := items[n];
        ELSIF octet_length(piece) + 1 + octet_length(items[n]) <= bytes_max THEN
            piece := piece || ',' || items[n];
        ELSE
            PERFORM pg_notify('bulk_enrichment_jobs', format('{"%s":[%s]}', word, piece));
            piece := items[n];
        END IF;
    END LOOP;
    IF piece <> '' THEN
        PERFORM pg_notify('bulk_enrichment_jobs', format('{"%s":[%s]}', word, piece));
    END IF;

    FOR n IN 1 .. cardinality(too_long) BY ids_max LOOP
        PERFORM pg_notify('bulk_enrichment_jobs', json_build_object('fetch', too_long[n : n + ids_max - 1])::text);
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER tell_of_inserts AFTER INSERT ON bulk_enrichment_jobs
    REFERENCING NEW TABLE AS rows_after
    FOR EACH STATEMENT EXECUTE FUNCTION bulk_enrichment_jobs_notify();

CREATE OR REPLACE TRIGGER tell_of_updates AFTER UPDATE ON bulk_enrichment_jobs
    REFERENCING NEW TABLE AS rows_after
    FOR EACH STATEMENT WHEN (current_setting('progress_service.tells', true) = 'on')
    EXECUTE FUNCTION bulk_enrichment_jobs_notify();

CREATE OR REPLACE TRIGGER tell_of_deletes AFTER DELETE ON bulk_enrichment_jobs
    REFERENCING OLD TABLE AS rows_before
    FOR EACH STATEMENT EXECUTE FUNCTION bulk_enrichment_jobs_notify();

CREATE OR REPLACE TRIGGER tell_of_truncation AFTER TRUNCATE ON bulk_enrichment_jobs
    FOR EACH STATEMENT EXECUTE FUNCTION bulk_enrichment_jobs_notify();

-- Where changes are read from the write-ahead log (section 7), these four are only a price that writers pay. They are
-- left out after
--
--     progress-service schema --apply --feed wal      or      SET progress_service.feed = 'wal' before this file
--
-- and come back with "notify". The choice is kept in the function's comment, so that applying the schema once more
-- does not undo it. Dropping a trigger waits for every transaction that has written, so no change falls in between.
DO $$
DECLARE
    chosen text := nullif(current_setting('progress_service.feed', true), '');
BEGIN
    IF chosen IS NULL THEN
        chosen := CASE WHEN obj_description('bulk_enrichment_jobs_notify'::regproc, 'pg_proc') LIKE 'Unused%'
            THEN 'wal' ELSE 'notify' END;
    END IF;
    CASE chosen
        WHEN 'notify' THEN
            COMMENT ON FUNCTION bulk_enrichment_jobs_notify() IS 'Tells listeners of every change';
        WHEN 'wal' THEN
            COMMENT ON FUNCTION bulk_enrichment_jobs_notify() IS
                'Unused: changes are read from the write-ahead log alone';
            DROP TRIGGER tell_of_inserts    ON bulk_enrichment_jobs;
            DROP TRIGGER tell_of_updates    ON bulk_enrichment_jobs;
            DROP TRIGGER tell_of_deletes    ON bulk_enrichment_jobs;
            DROP TRIGGER tell_of_truncation ON bulk_enrichment_jobs;
            CREATE OR REPLACE TRIGGER zz_keep_order BEFORE INSERT OR UPDATE ON bulk_enrichment_jobs
                FOR EACH ROW EXECUTE FUNCTION bulk_enrichment_jobs_keep_order('untold');
            -- Whoever listens learns that there will be nothing more to hear.
            PERFORM pg_notify('bulk_enrichment_jobs', '{"resync":"no triggers"}');
            IF current_setting('wal_level') <> 'logical' THEN
                RAISE WARNING 'nobody hears of changes: wal_level is "%", so the log does not tell of them either',
                    current_setting('wal_level')
                    USING HINT = 'Set wal_level = logical and restart PostgreSQL, or apply with --feed notify.';
            END IF;
        ELSE
            RAISE EXCEPTION 'progress_service.feed is "%"; it must be notify or wal', chosen;
    END CASE;
END
$$;


-- 5. Who may see and change what
--
-- A person acts in the database as the role "authenticated" (PostgREST and Supabase call it that, too), and can read
-- and write only their own jobs. The claim "sub" of their token, set for the length of a transaction, says who they
-- are. Without claims, or with a "sub" that is no uuid, they are nobody and see nothing.
--
-- The service and its workers connect as the owner of the table, who is not bound by this. The owner must be able to
-- take on the role (SET LOCAL ROLE).

DO $$
DECLARE
    -- Since PostgreSQL 16, not every member of a role may take it on.
    taking_on constant text := CASE
        WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'authenticated') THEN
        BEGIN
            CREATE ROLE authenticated NOLOGIN;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;  -- Roles belong to the whole server: someone applying this to another database was faster.
        END;
    END IF;
    IF NOT pg_has_role('authenticated', taking_on) THEN
        EXECUTE format('GRANT authenticated TO %I', current_user);
    END IF;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE EXCEPTION 'the role "%" may neither create the role "authenticated" nor take it on', current_user
        USING ERRCODE = 'insufficient_privilege', HINT = format(
            'Ask an administrator to run what is still missing of this, then apply the schema again: '
            'CREATE ROLE authenticated NOLOGIN; GRANT authenticated TO %I;', current_user);
END
$$;

CREATE OR REPLACE FUNCTION bulk_enrichment_jobs_reader() RETURNS uuid
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT CASE WHEN sub ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN sub::uuid END
    FROM (SELECT nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub') AS claims (sub)
$$;

-- If the table had no row-level security until now, someone may be about to lose sight of its rows, and should hear it.
DO $$
DECLARE
    shut_out text;
BEGIN
    SELECT string_agg(DISTINCT rolname, ', ') INTO shut_out
    FROM pg_class, aclexplode(relacl) JOIN pg_roles ON pg_roles.oid = grantee
    WHERE pg_class.oid = 'bulk_enrichment_jobs'::regclass AND NOT relrowsecurity AND grantee <> relowner
        AND NOT rolsuper AND NOT rolbypassrls AND rolname NOT IN ('authenticated', 'anon');
    IF shut_out IS NOT NULL THEN
        RAISE WARNING 'row-level security now hides all rows of bulk_enrichment_jobs from %', shut_out
            USING HINT = 'Workers should connect as the owner of the table. Others need a policy, or BYPASSRLS.';
    END IF;
END
$$;

ALTER TABLE bulk_enrichment_jobs ENABLE ROW LEVEL SECURITY;

-- The subselects have the claims read once for each statement instead of once for each row.
DROP POLICY IF EXISTS people_have_their_own_jobs ON bulk_enrichment_jobs;
CREATE POLICY people_have_their_own_jobs ON bulk_enrichment_jobs FOR ALL TO authenticated
    USING (user_id = (SELECT bulk_enrichment_jobs_reader()))
    WITH CHECK (user_id = (SELECT bulk_enrichment_jobs_reader()));

-- This also takes away TRUNCATE, which no policy would stop.
REVOKE ALL ON bulk_enrichment_jobs FROM PUBLIC, authenticated;
GRANT SELECT, INSERT, UPDATE, DELETE ON bulk_enrichment_jobs TO authenticated;
GRANT EXECUTE ON FUNCTION bulk_enrichment_jobs_broken_rules, bulk_enrichment_jobs_silence,
    bulk_enrichment_job_report, bulk_enrichment_jobs_reader TO authenticated;
DO $$
BEGIN
    IF NOT has_schema_privilege('authenticated', current_schema(), 'USAGE') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO authenticated', current_schema());
    END IF;
END
$$;


-- 6. How rows are found
--
-- None of these indexes has a column that a report of progress changes, so that such an update touches no index.

-- A person's jobs at work.
CREATE INDEX IF NOT EXISTS bulk_enrichment_jobs_active ON bulk_enrichment_jobs (user_id)
    WHERE status IN ('pending', 'running', 'paused');

-- Jobs that finished a moment ago, for snapshots.
CREATE INDEX IF NOT EXISTS bulk_enrichment_jobs_finished ON bulk_enrichment_jobs (finished_at)
    WHERE finished_at IS NOT NULL;

-- A person's history page by page, newest first.
CREATE INDEX IF NOT EXISTS bulk_enrichment_jobs_history ON bulk_enrichment_jobs (user_id, created_at DESC, id DESC);

-- The same request, sent twice, makes one job.
CREATE UNIQUE INDEX IF NOT EXISTS one_job_for_an_idempotency_key ON bulk_enrichment_jobs (user_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

-- Of a person's exclusive jobs, one at a time. The index decides between requests that come at the same moment.
DO $$
BEGIN
    CREATE UNIQUE INDEX IF NOT EXISTS one_exclusive_job_at_a_time ON bulk_enrichment_jobs (user_id)
        WHERE exclusive AND status IN ('pending', 'running', 'paused');
EXCEPTION WHEN unique_violation THEN
    RAISE WARNING 'exclusive jobs are not kept apart yet, since someone has several that have not ended'
        USING HINT = 'End all but one of each person''s, and apply the schema again.';
END
$$;


-- 7. What the write-ahead log says
--
-- All that a reader of logical decoding learns about a deleted row is its replica identity, which must say whose it was.

CREATE UNIQUE INDEX IF NOT EXISTS bulk_enrichment_jobs_identity ON bulk_enrichment_jobs (id, user_id);

DO $$
DECLARE
    ownerless bigint;
BEGIN
    SELECT count(*) INTO ownerless FROM bulk_enrichment_jobs WHERE user_id IS NULL;
    IF ownerless > 0 THEN
        ALTER TABLE bulk_enrichment_jobs REPLICA IDENTITY FULL;
        RAISE WARNING '% older row(s) of bulk_enrichment_jobs belong to nobody', ownerless
            USING HINT = 'They were kept, but cannot be shown, and make the write-ahead log longer (REPLICA IDENTITY '
                'FULL). Mend them, set REPLICA IDENTITY DEFAULT, and apply the schema again.';
        RETURN;
    END IF;

    ALTER TABLE bulk_enrichment_jobs ALTER COLUMN user_id SET NOT NULL;
    -- FULL includes the user as well, and someone may rely on the rest of it.
    IF NOT EXISTS (SELECT FROM pg_class WHERE oid = 'bulk_enrichment_jobs'::regclass AND relreplident = 'f') THEN
        ALTER TABLE bulk_enrichment_jobs REPLICA IDENTITY USING INDEX bulk_enrichment_jobs_identity;
    END IF;
END
$$;

-- Our own publication, and Supabase's if there is one, so that an older front end keeps working during a move.
DO $$
DECLARE
    publication text;
BEGIN
    FOREACH publication IN ARRAY ARRAY['progress_service', 'supabase_realtime'] LOOP
        BEGIN
            IF publication = 'progress_service'
                AND NOT EXISTS (SELECT FROM pg_publication WHERE pubname = publication)
            THEN
                -- PostgreSQL warns if wal_level is not "logical", which matters only to those who read the log.
                PERFORM set_config('client_min_messages', 'error', true);
                CREATE PUBLICATION progress_service;
                PERFORM set_config('client_min_messages', 'warning', true);
            END IF;
            IF EXISTS (SELECT FROM pg_publication WHERE pubname = publication) AND NOT EXISTS (
                SELECT FROM pg_publication_tables
                WHERE pubname = publication AND schemaname = current_schema() AND tablename = 'bulk_enrichment_jobs'
            ) THEN
                EXECUTE format('ALTER PUBLICATION %I ADD TABLE bulk_enrichment_jobs', publication);
            END IF;
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE WARNING 'bulk_enrichment_jobs is not in the publication "%": %', publication, SQLERRM
                USING HINT = 'Notifications work without it. An administrator can apply the schema again to add it.';
        END;
    END LOOP;
END
$$;

COMMIT;
