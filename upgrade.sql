-- An older table: a CHECK that refuses one of our statuses is dropped, an enum becomes text, json becomes jsonb, dates
-- get a time zone, and columns without a default get ours.
-- step: types
DO $$
DECLARE
    statuses constant text[] := '{pending, running, paused, completed, failed, cancelled}';
    found record;
    accepts_all boolean;
    changes text[] := '{}';
    index_statements text[] := '{}';
    statement text;
    value text;
BEGIN
    FOR found IN
        SELECT conname AS name, pg_get_expr(conbin, conrelid) AS condition
        FROM pg_constraint JOIN pg_attribute ON attrelid = conrelid AND conkey = ARRAY[attnum]
        WHERE conrelid = 'bulk_enrichment_jobs'::regclass AND contype = 'c' AND attname = 'status'
    LOOP
        BEGIN
            EXECUTE format('SELECT bool_and(%s) FROM unnest($1) AS job (status)', found.condition)
                INTO accepts_all USING statuses;
        EXCEPTION WHEN others THEN
            accepts_all := false;  -- The condition fits only the column's older type.
        END;
        IF NOT accepts_all THEN
            EXECUTE format('ALTER TABLE bulk_enrichment_jobs DROP CONSTRAINT %I', found.name);
            RAISE WARNING 'the constraint "%" of bulk_enrichment_jobs is dropped: it refuses one of the statuses %',
                found.name, array_to_string(statuses, ', ');
        END IF;
    END LOOP;

    FOR found IN
        SELECT attname AS name, ours.type, ours.fallback, pg_get_expr(adbin, adrelid) AS fallback_before,
            atttypid <> ours.type::regtype AS has_other_type, '::' || format_type(atttypid, NULL) AS cast_before
        FROM pg_attribute JOIN (VALUES
            ('id',         'uuid',        'gen_random_uuid()'),
            ('status',     'text',        quote_literal('pending')),
            ('progress',   'jsonb',       quote_literal('{"total": 0, "completed": 0, "failed": 0, "current_batch": 0}')),
            ('created_at', 'timestamptz', 'now()'),
            ('updated_at', 'timestamptz', 'now()')
        ) AS ours (name, type, fallback) ON attname = ours.name
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attrelid = 'bulk_enrichment_jobs'::regclass AND (atttypid <> ours.type::regtype OR adbin IS NULL)
    LOOP
        value := coalesce(found.fallback_before, found.fallback);
        IF found.has_other_type THEN
            IF found.type <> 'timestamptz' AND found.fallback_before IS NOT NULL THEN
                EXECUTE format('SELECT quote_literal((%s)::text)', found.fallback_before) INTO value;
            END IF;
            -- A partial index names the enum. It is created again with the new type.
            FOR statement IN
                SELECT format('DROP INDEX %s; %s', indexrelid::regclass,
                    replace(pg_get_indexdef(indexrelid), found.cast_before, '::' || found.type))
                FROM pg_index
                WHERE indrelid = 'bulk_enrichment_jobs'::regclass
                    AND position(found.cast_before IN pg_get_expr(indpred, indrelid)) > 0
            LOOP
                EXECUTE split_part(statement, ';', 1);
                index_statements := index_statements || split_part(statement, '; ', 2);
            END LOOP;
            changes := changes || format('ALTER %1$I DROP DEFAULT, ALTER %1$I TYPE %2$s USING %1$I::%2$s',
                found.name, found.type);
        END IF;
        changes := changes || format('ALTER %I SET DEFAULT %s', found.name, value);
    END LOOP;
    IF changes <> '{}' THEN
        EXECUTE 'ALTER TABLE bulk_enrichment_jobs ' || array_to_string(changes, ', ');
    END IF;
    FOREACH statement IN ARRAY index_statements LOOP
        EXECUTE statement;
    END LOOP;
END
$$;

-- Older rows get the values that they lack. No trigger fires meanwhile, because nothing has happened to these jobs.
-- `--apply` runs this step again until no row is left, so that each transaction is short.
-- step: gaps
DO $$
DECLARE
    rows_max constant int := nullif(current_setting('progress_service.rows_max', true), '');
    ids uuid[];
    found record;
    restore_statements text[] := '{}';
    statement text;
BEGIN
    SELECT array_agg(id) INTO ids FROM (
        SELECT id FROM bulk_enrichment_jobs
        WHERE status IS NULL OR progress IS NULL OR created_at IS NULL OR updated_at IS NULL
            OR (status IN ('completed', 'failed', 'cancelled') AND finished_at IS NULL)
        LIMIT rows_max
    ) AS incomplete;
    IF ids IS NULL THEN
        RETURN;
    END IF;

    FOR found IN
        SELECT tgname AS name,
            CASE tgenabled WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE' END AS enabling
        FROM pg_trigger
        WHERE tgrelid = 'bulk_enrichment_jobs'::regclass AND NOT tgisinternal AND tgenabled <> 'D'
    LOOP
        EXECUTE format('ALTER TABLE bulk_enrichment_jobs DISABLE TRIGGER %I', found.name);
        restore_statements := restore_statements
            || format('ALTER TABLE bulk_enrichment_jobs %s TRIGGER %I', found.enabling, found.name);
    END LOOP;
    UPDATE bulk_enrichment_jobs SET
        status = coalesce(status, 'pending'),
        progress = coalesce(progress, '{"total": 0, "completed": 0, "failed": 0, "current_batch": 0}'),
        created_at = coalesce(created_at, updated_at, now()),
        updated_at = coalesce(updated_at, created_at, now()),
        -- The last write is the nearest known moment to the end.
        finished_at = CASE WHEN status IN ('completed', 'failed', 'cancelled')
            THEN coalesce(finished_at, updated_at, created_at, now()) END
    WHERE id = ANY (ids);
    FOREACH statement IN ARRAY restore_statements LOOP
        EXECUTE statement;
    END LOOP;
    PERFORM set_config('progress_service.again', 'yes', true);
END
$$;

-- step: not null
DO $$
DECLARE
    null_owner_count bigint;
    changes text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute
        WHERE attrelid = 'bulk_enrichment_jobs'::regclass AND NOT attnotnull
            AND attname IN ('user_id', 'status', 'progress', 'created_at', 'updated_at'))
    THEN
        RETURN;
    END IF;
    SELECT count(*) INTO null_owner_count FROM bulk_enrichment_jobs WHERE user_id IS NULL;
    IF null_owner_count > 0 THEN
        RAISE WARNING '% older row(s) of bulk_enrichment_jobs have no user_id and cannot be shown', null_owner_count
            USING HINT = 'They are kept. Set their user_id, and apply the schema again.';
    END IF;
    SELECT string_agg(format('ALTER %I SET NOT NULL', attname), ', ') INTO changes
    FROM pg_attribute
    WHERE attrelid = 'bulk_enrichment_jobs'::regclass AND NOT attnotnull
        AND (attname IN ('status', 'progress', 'created_at', 'updated_at')
            OR attname = 'user_id' AND null_owner_count = 0);
    IF changes IS NOT NULL THEN
        EXECUTE 'ALTER TABLE bulk_enrichment_jobs ' || changes;
    END IF;
END
$$;
