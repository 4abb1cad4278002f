-- The progress of long jobs: one table, the rules of its rows, the hints that its triggers send, and who may see what.
--
-- For PostgreSQL 15 and newer, and for Supabase. Apply it as the role that the service and its workers use:
--
--     progress-service schema --apply      or      psql "$DATABASE_URL" -v ON_ERROR_STOP=1 -f schema.sql
--
-- It can be applied again at any time; what is there already stays. A table that has only the columns id, user_id,
-- status, progress, created_at and updated_at is upgraded in place, and every row is kept. What belongs to the
-- application stays too: its defaults, checks, triggers, policies, comments and foreign keys.
--
-- psql runs the file as one transaction, which locks an older table until it ends: about ten seconds for half a
-- million rows. `--apply` runs each step below in a transaction of its own, builds indexes concurrently, and takes no
-- lock where nothing changes, so that writers never wait longer than about a second.
--
-- Remarks are warnings, because PostgreSQL's own notices ("already exists, skipping") are switched off.

BEGIN;

SET LOCAL client_min_messages = warning;
SET LOCAL lock_timeout = '10s';
SET LOCAL statement_timeout = 0;
-- Older dates without a time zone are read as UTC; PostgreSQL then need not rewrite the table.
SET LOCAL timezone = 'UTC';

-- Everything goes into one schema: the one that has the table, or else the first of the search path.
DO $$
DECLARE
    home constant name := coalesce(
        (SELECT nspname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
            WHERE pg_class.oid = to_regclass('bulk_enrichment_jobs')),
        current_schema(), 'public');
BEGIN
    IF octet_length('bulk_enrichment_jobs.' || home) > 63 THEN
        RAISE EXCEPTION 'the name of the schema "%" is too long: at most 42 bytes, so that its channel fits', home;
    END IF;
    -- Step "users" needs what the search path was.
    PERFORM set_config('progress_service.users', coalesce(to_regclass('users')::oid::text, ''), true),
        set_config('search_path', format('%I, pg_temp', home), true),
        pg_advisory_xact_lock(hashtextextended('schema of bulk_enrichment_jobs', 0));
END
$$;


-- 1. The table

-- step: table
CREATE TABLE IF NOT EXISTS bulk_enrichment_jobs (
    id         uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id    uuid        NOT NULL,
    status     text        NOT NULL DEFAULT 'pending',  -- pending, running, paused, completed, failed or cancelled
    progress   jsonb       NOT NULL DEFAULT '{"total": 0, "completed": 0, "failed": 0, "current_batch": 0}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()       -- of what people see; kept by a trigger
) WITH (fillfactor = 80);                               -- room on each page for the next versions of its rows

-- step: columns
DO $$
BEGIN
    IF (SELECT count(*) FROM pg_attribute WHERE attrelid = 'bulk_enrichment_jobs'::regclass AND attname IN (
        'label', 'requested', 'error', 'revision', 'exclusive', 'started_at', 'finished_at', 'heartbeat_at',
        'lease_token', 'lease_seconds', 'cursor', 'ended_by', 'idempotency_key', 'idempotency_digest')) < 14
    THEN
        ALTER TABLE bulk_enrichment_jobs
            ADD COLUMN IF NOT EXISTS label        text,
            ADD COLUMN IF NOT EXISTS requested    text,         -- what the user asks: pause, resume or cancel
            ADD COLUMN IF NOT EXISTS error        text,         -- why the job failed
            ADD COLUMN IF NOT EXISTS revision     bigint  NOT NULL DEFAULT 0,      -- kept by a trigger
            ADD COLUMN IF NOT EXISTS exclusive    boolean NOT NULL DEFAULT false,  -- one at a time for each user
            ADD COLUMN IF NOT EXISTS started_at   timestamptz,
            ADD COLUMN IF NOT EXISTS finished_at  timestamptz,
            ADD COLUMN IF NOT EXISTS ended_by     text,         -- worker, user or reaper; null: unknown
            -- For workers and the service only.
            ADD COLUMN IF NOT EXISTS heartbeat_at timestamptz,
            ADD COLUMN IF NOT EXISTS lease_token  uuid,         -- writes of a worker without it change nothing
            ADD COLUMN IF NOT EXISTS lease_seconds double precision NOT NULL DEFAULT 30,  -- of silence
            ADD COLUMN IF NOT EXISTS cursor       jsonb,        -- where the next worker continues
            ADD COLUMN IF NOT EXISTS idempotency_key    text,   -- of the request that created the job
            ADD COLUMN IF NOT EXISTS idempotency_digest text;   -- hash of that request's body
    END IF;
END
$$;

\ir upgrade.sql

-- user_id refers to the application's users where a table of users with a UUID key is visible: Supabase's auth.users,
-- or else "users" in the search path. A foreign key of the application on user_id stays.
-- step: users
DO $$
DECLARE
    users constant oid := coalesce(
        (SELECT pg_class.oid FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
            WHERE nspname = 'auth' AND relname = 'users'),
        nullif(current_setting('progress_service.users'), '')::oid);
BEGIN
    IF users IS NULL OR EXISTS (
        SELECT FROM pg_constraint JOIN pg_attribute ON attrelid = conrelid AND conkey = ARRAY[attnum]
        WHERE conrelid = 'bulk_enrichment_jobs'::regclass AND contype = 'f' AND attname = 'user_id')
    THEN
        RETURN;
    END IF;
    IF NOT EXISTS (
        SELECT FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
        WHERE indrelid = users AND attname = 'id' AND atttypid = 'uuid'::regtype
            AND indisunique AND indimmediate AND indisvalid AND indnkeyatts = 1 AND indpred IS NULL)
    THEN
        RAISE WARNING 'user_id has no foreign key, because % has no UUID key named id', users::regclass;
        RETURN;
    END IF;
    EXECUTE format('ALTER TABLE bulk_enrichment_jobs ADD CONSTRAINT bulk_enrichment_jobs_user_id_fkey '
        'FOREIGN KEY (user_id) REFERENCES %s (id) ON DELETE CASCADE NOT VALID', users::regclass);
EXCEPTION WHEN insufficient_privilege THEN
    RAISE WARNING 'user_id has no foreign key, because "%" may not refer to %', current_user, users::regclass;
END
$$;


-- 2. The rules of a row
--
-- They bound what one row can cost. Clients see the name of a broken rule, so each name is a sentence. PostgreSQL parses
-- every CHECK again for each statement, so only the size of progress is one; the other rules are in the trigger of
-- section 3 (docs/decisions/0012).

-- step: rules
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = 'bulk_enrichment_jobs'::regclass
        AND conname = 'progress_has_at_most_64_kib')
    THEN
        -- NOT VALID: it binds what is written from now on. Step "proofs" looks at older rows.
        ALTER TABLE bulk_enrichment_jobs ADD CONSTRAINT progress_has_at_most_64_kib
            CHECK (octet_length(progress::text) <= 65536) NOT VALID;
    END IF;
END
$$;


-- 3. The order of changes, and the hints
--
-- Each change that people can see raises the revision, while the row is locked. A new row starts at the microseconds of
-- its creation, so that an id which is deleted and used again continues above its former revisions.
--
-- Each such change also sends a hint: the job's id, on the channel "bulk_enrichment_jobs.SCHEMA". The service reads the
-- row, so a hint carries nothing else, and a forged one causes one read. PostgreSQL delivers hints after the commit,
-- in order, and drops duplicates of one transaction. Anyone who can connect to the database can listen to ids.
--
-- The rules are checked too, unless an UPDATE changes only progress and a worker's own columns.
--
-- Triggers fire in the order of their names. "zz" comes after the application's own triggers and sees their result.
-- The function has no search_path of its own, which would cost more than all of its work; its operators have operands
-- of exactly the declared types, so that PostgreSQL's own are the best match.

-- step: function bulk_enrichment_jobs_bump_revision
CREATE OR REPLACE FUNCTION bulk_enrichment_jobs_bump_revision() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    broken_rule text;
    moment timestamptz;
    hint text;
BEGIN
    -- The usual UPDATE changes progress and no other column that people see. OLD is null for an INSERT.
    IF NEW.progress <> OLD.progress AND NEW.progress @> '{}'
        AND (NEW.id, NEW.label, NEW.status, NEW.requested, NEW.error, NEW.user_id, NEW.created_at,
            NEW.started_at, NEW.finished_at, NEW.lease_seconds, NEW.ended_by, NEW.idempotency_key)
        IS NOT DISTINCT FROM (OLD.id, OLD.label, OLD.status, OLD.requested, OLD.error, OLD.user_id, OLD.created_at,
            OLD.started_at, OLD.finished_at, OLD.lease_seconds, OLD.ended_by, OLD.idempotency_key)
    THEN
        NEW.revision := OLD.revision + 1;
        NEW.updated_at := clock_timestamp();
    ELSE
        broken_rule := CASE
            WHEN NEW.id <> OLD.id THEN 'id_never_changes'
            WHEN NEW.status NOT IN ('pending', 'running', 'paused', 'completed', 'failed', 'cancelled')
                THEN 'status_is_known'
            WHEN NOT NEW.progress @> '{}' THEN 'progress_is_an_object'
            WHEN char_length(NEW.label) > 200 THEN 'label_has_at_most_200_characters'
            WHEN NEW.requested NOT IN ('pause', 'resume', 'cancel') THEN 'requested_is_pause_resume_or_cancel'
            WHEN NEW.ended_by NOT IN ('worker', 'user', 'reaper') THEN 'ended_by_worker_user_or_reaper'
            WHEN NOT (NEW.lease_seconds > '0'::float8 AND NEW.lease_seconds <= '31622400'::float8)
                THEN 'lease_lasts_at_most_a_year'
            WHEN char_length(NEW.idempotency_key) > 200 THEN 'idempotency_key_has_at_most_200_characters'
            WHEN char_length(NEW.idempotency_digest) > 200 THEN 'idempotency_digest_has_at_most_200_characters'
            WHEN least(NEW.created_at, NEW.updated_at, NEW.started_at, NEW.finished_at) < '0001-01-01 00:00Z'
                OR greatest(NEW.created_at, NEW.updated_at, NEW.started_at, NEW.finished_at) >= '10000-01-01 00:00Z'
                THEN 'dates_are_from_year_1_to_9999'
        END;
        IF broken_rule IS NOT NULL THEN
            RAISE EXCEPTION 'new row for relation "%" violates check constraint "%"', TG_TABLE_NAME, broken_rule
                USING ERRCODE = 'check_violation', TABLE = TG_TABLE_NAME, CONSTRAINT = broken_rule;
        END IF;

        -- No worker has claimed the job, so no worker would answer.
        IF NEW.requested IN ('resume', 'cancel') AND NEW.status = 'pending' AND NEW.lease_token IS NULL THEN
            IF NEW.requested = 'cancel' THEN
                NEW.status := 'cancelled';
                NEW.ended_by := 'user';
            END IF;
            NEW.requested := NULL;
        END IF;

        moment := clock_timestamp();
        IF NEW.status = 'running' AND OLD.status IS DISTINCT FROM 'running' THEN
            NEW.started_at := coalesce(NEW.started_at, moment);
        END IF;
        NEW.finished_at := CASE WHEN NEW.status IN ('completed', 'failed', 'cancelled')
            THEN coalesce(NEW.finished_at, moment) END;

        IF TG_OP = 'INSERT' THEN
            NEW.revision := extract(epoch FROM moment) * 1000000.0;
        ELSIF NEW.progress <> OLD.progress
            OR (NEW.label, NEW.status, NEW.requested, NEW.error, NEW.user_id,
                NEW.created_at, NEW.started_at, NEW.finished_at)
            IS DISTINCT FROM (OLD.label, OLD.status, OLD.requested, OLD.error, OLD.user_id,
                OLD.created_at, OLD.started_at, OLD.finished_at)
        THEN
            NEW.revision := OLD.revision + 1;
            NEW.updated_at := moment;
        ELSE
            NEW.revision := OLD.revision;
            NEW.updated_at := OLD.updated_at;
            RETURN NEW;
        END IF;
    END IF;
    -- An assignment is an expression; PERFORM would run a query for the same call.
    hint := CASE TG_NARGS WHEN 0
        THEN pg_notify('bulk_enrichment_jobs.' || TG_TABLE_SCHEMA::text, NEW.id::text)::text END;
    RETURN NEW;
END
$$;

-- step: function bulk_enrichment_jobs_notify
CREATE OR REPLACE FUNCTION bulk_enrichment_jobs_notify() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('bulk_enrichment_jobs.' || TG_TABLE_SCHEMA::text, coalesce(OLD.id::text, 'truncate'));
    RETURN NULL;
END
$$;

-- Where the service reads the write-ahead log, hints are only a price that writers pay. They are left out after
--
--     progress-service schema --apply --feed wal      or      SET progress_service.feed = 'wal' before this file
--
-- and come back with "notify". The trigger's argument keeps the choice.
-- step: triggers
DO $$
DECLARE
    has_hints constant boolean := (SELECT tgnargs = 0 FROM pg_trigger
        WHERE tgrelid = 'bulk_enrichment_jobs'::regclass AND tgname = 'zz_bump_revision');
    feed constant text := coalesce(nullif(current_setting('progress_service.feed', true), ''),
        CASE WHEN has_hints IS FALSE THEN 'wal' ELSE 'notify' END);
    names constant name[] := ARRAY(SELECT tgname FROM pg_trigger
        WHERE tgrelid = 'bulk_enrichment_jobs'::regclass AND NOT tgisinternal);
BEGIN
    IF feed NOT IN ('notify', 'wal') THEN
        RAISE EXCEPTION 'progress_service.feed is "%"; it must be notify or wal', feed;
    END IF;
    IF has_hints IS DISTINCT FROM (feed = 'notify') THEN
        EXECUTE format('CREATE OR REPLACE TRIGGER zz_bump_revision BEFORE INSERT OR UPDATE ON bulk_enrichment_jobs '
            'FOR EACH ROW EXECUTE FUNCTION bulk_enrichment_jobs_bump_revision(%s)',
            CASE feed WHEN 'wal' THEN quote_literal('no_notify') END);
    END IF;
    IF feed = 'notify' AND NOT '{notify_delete, notify_truncate}' <@ names THEN
        CREATE OR REPLACE TRIGGER notify_delete AFTER DELETE ON bulk_enrichment_jobs
            FOR EACH ROW EXECUTE FUNCTION bulk_enrichment_jobs_notify();
        CREATE OR REPLACE TRIGGER notify_truncate AFTER TRUNCATE ON bulk_enrichment_jobs
            FOR EACH STATEMENT EXECUTE FUNCTION bulk_enrichment_jobs_notify();
    ELSIF feed = 'wal' AND '{notify_delete, notify_truncate}' && names THEN
        DROP TRIGGER IF EXISTS notify_delete ON bulk_enrichment_jobs;
        DROP TRIGGER IF EXISTS notify_truncate ON bulk_enrichment_jobs;
        -- A last hint makes listeners check the table, and find that no other will come.
        PERFORM pg_notify('bulk_enrichment_jobs.' || current_schema(), 'truncate');
    END IF;
    IF feed = 'wal' AND current_setting('wal_level') <> 'logical' THEN
        RAISE WARNING 'no feed but polling works: the triggers send no hints, and wal_level is "%"',
            current_setting('wal_level')
            USING HINT = 'Set wal_level = logical and restart PostgreSQL, or apply with --feed notify.';
    END IF;
END
$$;


-- 4. Who may see and change what
--
-- A person acts in the database as the role "authenticated" (PostgREST and Supabase call it that, too), under row-level
-- security, and has columns instead of the table. The claim "sub" of the token, set for the length of a transaction,
-- says who it is; without a claim, or with one that is no UUID, there are no rows. The service and its workers connect
-- as the owner of the table, which row-level security does not bind, and take on the role for a person's request.

-- step: function current_job_user
CREATE OR REPLACE FUNCTION current_job_user() RETURNS uuid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN sub ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN sub::uuid END
    FROM (SELECT nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub') AS claims (sub)
$$;

-- step: role
DO $$
DECLARE
    -- Since PostgreSQL 16, not every member of a role may take it on.
    privilege constant text := CASE
        WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'authenticated') THEN
        BEGIN
            CREATE ROLE authenticated NOLOGIN;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;  -- Roles belong to the whole server; another database's transaction created it first.
        END;
    END IF;
    IF NOT pg_has_role('authenticated', privilege) THEN
        EXECUTE format('GRANT authenticated TO %I', current_user);
    END IF;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE EXCEPTION 'the role "%" may neither create the role "authenticated" nor take it on', current_user
        USING ERRCODE = 'insufficient_privilege', HINT = format(
            'Ask an administrator to run what is missing of this, then apply the schema again: '
            'CREATE ROLE authenticated NOLOGIN; GRANT authenticated TO %I;', current_user);
END
$$;

-- The policy marks the first application. Later ones leave all rights as the operator has set them.
-- step: access
DO $$
DECLARE
    hidden_from text;
    revoked text;
BEGIN
    IF EXISTS (SELECT FROM pg_policy
        WHERE polrelid = 'bulk_enrichment_jobs'::regclass AND polname = 'owner_only')
    THEN
        RETURN;
    END IF;
    SELECT string_agg(DISTINCT rolname, ', ') FILTER (WHERE NOT relrowsecurity AND grantee <> relowner
            AND NOT rolsuper AND NOT rolbypassrls AND rolname NOT IN ('authenticated', 'anon')),
        string_agg(DISTINCT privilege_type || ' from ' || coalesce(rolname, 'PUBLIC'), ', ')
            FILTER (WHERE grantee = 0 OR rolname IN ('authenticated', 'anon'))
    INTO hidden_from, revoked
    FROM pg_class, aclexplode(relacl) LEFT JOIN pg_roles ON pg_roles.oid = grantee
    WHERE pg_class.oid = 'bulk_enrichment_jobs'::regclass AND EXISTS (SELECT FROM bulk_enrichment_jobs);
    IF hidden_from IS NOT NULL THEN
        RAISE WARNING 'row-level security now hides all rows of bulk_enrichment_jobs from %', hidden_from
            USING HINT = 'Workers should connect as the owner of the table. Others need a policy, or BYPASSRLS.';
    END IF;
    IF revoked IS NOT NULL THEN
        RAISE WARNING 'these rights on bulk_enrichment_jobs are revoked: %', revoked
            USING HINT = 'People keep what the service needs. Grant again what your application needs besides.';
    END IF;

    REVOKE ALL ON bulk_enrichment_jobs FROM PUBLIC, authenticated;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'anon') THEN
        REVOKE ALL ON bulk_enrichment_jobs FROM anon;
    END IF;
    IF NOT has_schema_privilege('authenticated', current_schema(), 'USAGE') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO authenticated', current_schema());
    END IF;
    GRANT EXECUTE ON FUNCTION current_job_user TO authenticated;
    GRANT SELECT (id, user_id, label, status, requested, progress, error, revision, exclusive, created_at, started_at,
            updated_at, finished_at, ended_by, idempotency_key, idempotency_digest),
        INSERT (user_id, label, progress, exclusive, idempotency_key, idempotency_digest),
        UPDATE (requested)
        ON bulk_enrichment_jobs TO authenticated;
    ALTER TABLE bulk_enrichment_jobs ENABLE ROW LEVEL SECURITY;
    -- The subselect evaluates the claims once for each statement instead of once for each row.
    CREATE POLICY owner_only ON bulk_enrichment_jobs FOR ALL TO authenticated
        USING (user_id = (SELECT current_job_user())) WITH CHECK (user_id = (SELECT current_job_user()));
END
$$;


-- 5. How rows are found
--
-- No index has a column that a report of progress changes, so that such an UPDATE touches no index (HOT).

-- A user's active jobs.
-- step: index bulk_enrichment_jobs_active
CREATE INDEX IF NOT EXISTS bulk_enrichment_jobs_active ON bulk_enrichment_jobs (user_id)
    WHERE status IN ('pending', 'running', 'paused');

-- Jobs that finished a moment ago, for snapshots.
-- step: index bulk_enrichment_jobs_finished
CREATE INDEX IF NOT EXISTS bulk_enrichment_jobs_finished ON bulk_enrichment_jobs (finished_at)
    WHERE finished_at IS NOT NULL;

-- A user's history page by page, newest first.
-- step: index bulk_enrichment_jobs_history
CREATE INDEX IF NOT EXISTS bulk_enrichment_jobs_history ON bulk_enrichment_jobs (user_id, created_at DESC, id DESC);

-- A request that is sent twice creates one job.
-- step: index one_job_for_an_idempotency_key
CREATE UNIQUE INDEX IF NOT EXISTS one_job_for_an_idempotency_key ON bulk_enrichment_jobs (user_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

-- One of a user's exclusive jobs at a time. The index decides between requests of the same moment.
-- step: index one_exclusive_job_at_a_time
DO $$
BEGIN
    IF EXISTS (SELECT FROM bulk_enrichment_jobs WHERE exclusive AND status IN ('pending', 'running', 'paused')
        GROUP BY user_id HAVING count(*) > 1)
    THEN
        RAISE WARNING 'exclusive jobs are not kept apart yet: a user has several that have not ended'
            USING HINT = 'End all but one of each user''s, and apply the schema again.';
    ELSE
        CREATE UNIQUE INDEX IF NOT EXISTS one_exclusive_job_at_a_time ON bulk_enrichment_jobs (user_id)
            WHERE exclusive AND status IN ('pending', 'running', 'paused');
    END IF;
END
$$;


-- Older rows. The service asks whether the CHECK is validated; it is once all rows keep that rule and the one of dates.
-- step: proofs
DO $$
DECLARE
    users oid;
    oversized bigint;
    misdated bigint;
    orphaned bigint;
BEGIN
    IF EXISTS (SELECT FROM pg_constraint WHERE conrelid = 'bulk_enrichment_jobs'::regclass
        AND conname = 'progress_has_at_most_64_kib' AND NOT convalidated)
    THEN
        BEGIN
            SELECT count(*) FILTER (WHERE octet_length(progress::text) > 65536),
                count(*) FILTER (WHERE least(created_at, updated_at, started_at, finished_at) < '0001-01-01 00:00Z'
                    OR greatest(created_at, updated_at, started_at, finished_at) >= '10000-01-01 00:00Z')
            INTO oversized, misdated FROM bulk_enrichment_jobs;
        EXCEPTION WHEN program_limit_exceeded THEN
            -- The text of a progress can be longer than PostgreSQL can hold.
            oversized := 1;
            misdated := 0;
        END;
        IF oversized + misdated > 0 THEN
            RAISE WARNING '% older row(s) of bulk_enrichment_jobs have more than 64 KiB of progress, and % have dates '
                'that are not from year 1 to 9999', oversized, misdated
                USING HINT = 'They are kept. Correct them, and apply the schema again.';
        ELSE
            ALTER TABLE bulk_enrichment_jobs VALIDATE CONSTRAINT progress_has_at_most_64_kib;
        END IF;
    END IF;

    SELECT confrelid INTO users FROM pg_constraint WHERE conrelid = 'bulk_enrichment_jobs'::regclass
        AND conname = 'bulk_enrichment_jobs_user_id_fkey' AND NOT convalidated;
    IF users IS NOT NULL THEN
        BEGIN
            EXECUTE format('SELECT count(*) FROM bulk_enrichment_jobs WHERE user_id IS NOT NULL '
                'AND NOT EXISTS (SELECT FROM %s AS users WHERE users.id = user_id)', users::regclass) INTO orphaned;
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE WARNING 'the foreign key of user_id is not validated, because "%" may not read %',
                current_user, users::regclass;
            RETURN;
        END;
        IF orphaned > 0 THEN
            RAISE WARNING '% older row(s) of bulk_enrichment_jobs belong to users who are not in %',
                orphaned, users::regclass USING HINT = 'They are kept. Correct them, and apply the schema again.';
        ELSE
            ALTER TABLE bulk_enrichment_jobs VALIDATE CONSTRAINT bulk_enrichment_jobs_user_id_fkey;
        END IF;
    END IF;
END
$$;


-- 6. What the write-ahead log carries
--
-- Our own publication, and Supabase's if there is one, so that an older front end keeps working during a move.
-- step: publications
DO $$
DECLARE
    publication text;
BEGIN
    FOREACH publication IN ARRAY ARRAY['progress_service', 'supabase_realtime'] LOOP
        BEGIN
            IF publication = 'progress_service' AND NOT EXISTS (SELECT FROM pg_publication WHERE pubname = publication)
            THEN
                -- PostgreSQL warns if wal_level is not "logical", which matters only to readers of the log.
                PERFORM set_config('client_min_messages', 'error', true);
                CREATE PUBLICATION progress_service;
                PERFORM set_config('client_min_messages', 'warning', true);
            END IF;
            IF EXISTS (SELECT FROM pg_publication WHERE pubname = publication) AND NOT EXISTS (
                SELECT FROM pg_publication_tables
                WHERE pubname = publication AND schemaname = current_schema() AND tablename = 'bulk_enrichment_jobs')
            THEN
                EXECUTE format('ALTER PUBLICATION %I ADD TABLE bulk_enrichment_jobs', publication);
            END IF;
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE WARNING 'bulk_enrichment_jobs is not in the publication "%": %', publication, SQLERRM
                USING HINT = 'Hints work without it. An administrator can apply the schema again to add it.';
        END;
    END LOOP;
END
$$;

COMMIT;
