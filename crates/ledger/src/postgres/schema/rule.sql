-- The rule of the states, in the words of the core's `protocol::next`, which is what it is checked
-- against: the tests ask both about every state and every transition. A pure function.
--
-- A state is null (never made), `reserved`, `released`, `started`, `succeeded`, `failed`, `unknown`,
-- `resolved_succeeded`, `resolved_failed` or `never_began`.

CREATE TYPE lar.step AS (
    conflict       text,
    detail         bigint,
    state          text,
    fence          bigint,
    lease_until    bigint,
    action         bytea,
    approved_until bigint,
    -- What it does to the uses that are left: -1, 0 or 1.
    change         integer
);

CREATE FUNCTION lar.next(
    -- Where everything stands.
    run_fence bigint, revoked boolean, grant_expires bigint, quarantined boolean,
    granted bigint, uses_left bigint, token_expires bigint, requires_approval boolean,
    locked boolean,
    state text, fence bigint, lease_until bigint, held_for bytea, approved_until bigint,
    -- What is asked. `held` is the holder's number of the use; null where the step has none.
    now bigint, holder bigint, action bytea, transition text, held bigint, lease_ms bigint,
    not_after bigint, verdict text
) RETURNS lar.step
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    latest CONSTANT bigint := 253402128000000;
    s lar.step;
BEGIN
    s.change := 0;
    IF transition NOT IN ('expire', 'resolve') AND holder IS DISTINCT FROM run_fence THEN
        s.conflict := 'run_lost';
        RETURN s;
    END IF;

    IF state IS NULL AND transition = 'start' AND held IS NULL THEN
        IF requires_approval THEN
            s.conflict := 'not_approved';
        ELSE
            s.state := 'started';
            s.fence := 1;
            s.change := -1;
        END IF;
    ELSIF transition = 'reserve' AND (state IS NULL OR state = 'released') THEN
        s.state := 'reserved';
        s.fence := coalesce(fence, 0) + 1;
        s.lease_until := least(now + lease_ms, latest);
        s.action := action;
        IF held_for = action AND now <= approved_until THEN
            s.approved_until := approved_until;
        END IF;
        s.change := -1;
    ELSIF state IS NOT NULL AND (transition = 'reserve' OR transition = 'start' AND held IS NULL) THEN
        s.conflict := 'already_attempted';
    ELSIF state = 'reserved' AND transition = 'approve' THEN
        IF now > lease_until THEN
            s.conflict := 'lease_expired';
        ELSIF held_for <> action THEN
            s.conflict := 'other_action';
        ELSIF approved_until IS NOT NULL THEN
            s.conflict := 'out_of_order';
        ELSE
            s.state := 'reserved';
            s.fence := fence;
            s.lease_until := lease_until;
            s.action := held_for;
            s.approved_until := not_after;
        END IF;
    ELSIF state = 'reserved' AND transition = 'start' THEN
        IF fence <> held THEN
            s.conflict := 'fenced';
        ELSIF now > lease_until THEN
            s.conflict := 'lease_expired';
        ELSIF held_for <> action THEN
            s.conflict := 'other_action';
        ELSIF approved_until IS NULL AND requires_approval THEN
            s.conflict := 'not_approved';
        ELSIF approved_until < now THEN
            s.conflict := 'approval_expired';
            s.detail := approved_until;
        ELSE
            s.state := 'started';
            s.fence := fence;
        END IF;
    ELSIF state = 'reserved' AND transition = 'release' THEN
        IF fence <> held THEN
            s.conflict := 'fenced';
        ELSE
            s.state := 'released';
            s.fence := fence + 1;
            s.action := held_for;
            s.change := 1;
        END IF;
    ELSIF state = 'reserved' AND transition IN ('recover', 'expire') THEN
        IF transition = 'expire' AND now <= lease_until THEN
            s.conflict := 'out_of_order';
        ELSE
            s.state := 'released';
            s.fence := fence + 1;
            s.action := held_for;
            s.approved_until := approved_until;
            s.change := 1;
        END IF;
    ELSIF state = 'started' AND transition IN ('finish', 'never_began') THEN
        IF fence <> held THEN
            s.conflict := 'fenced';
        ELSIF transition = 'finish' THEN
            IF verdict IS NULL OR verdict NOT IN ('succeeded', 'failed', 'unknown') THEN
                RAISE EXCEPTION 'no such outcome' USING ERRCODE = 'LR003';
            END IF;
            s.state := verdict;
            s.fence := fence;
        ELSE
            s.state := 'never_began';
            s.fence := fence;
            s.change := 1;
        END IF;
    ELSIF state = 'started' AND transition = 'recover' THEN
        s.state := 'unknown';
        s.fence := fence;
    ELSIF state = 'unknown' AND transition = 'resolve' THEN
        -- The owner speaks at its fence; a person or the target has none.
        IF fence <> held THEN
            s.conflict := 'fenced';
        ELSIF verdict IS NULL OR verdict NOT IN ('succeeded', 'failed') THEN
            s.conflict := 'out_of_order';
        ELSE
            s.state := 'resolved_' || verdict;
            s.fence := fence;
        END IF;
    ELSIF state = 'released' AND transition = 'start' THEN
        s.conflict := 'fenced';
    ELSE
        s.conflict := 'out_of_order';
    END IF;

    IF s.conflict IS NULL AND (s.change < 0 OR transition = 'start') THEN
        IF revoked THEN
            s.conflict := 'revoked';
        ELSIF quarantined THEN
            s.conflict := 'quarantined';
        ELSIF now >= grant_expires THEN
            s.conflict := 'grant_expired';
            s.detail := grant_expires;
        ELSIF now >= token_expires THEN
            s.conflict := 'expired';
            s.detail := token_expires;
        ELSIF locked THEN
            s.conflict := 'locked';
        END IF;
    END IF;
    IF s.conflict IS NULL AND s.change < 0 AND uses_left < 1 THEN
        s.conflict := 'no_use_left';
    ELSIF s.conflict IS NULL AND s.change > 0 AND uses_left >= granted THEN
        s.conflict := 'out_of_order';
    END IF;
    RETURN s;
END $$;
