// The state machine: what containerd is told, what is left in the world and in the journal, when
// things go well, fail, hang, come twice, at the same time, or not at all.
#include "rig.h"
#include "sandbox/metrics.h"

#include <time.h>

// ---- Create -------------------------------------------------------------------------------------

Test(sandbox, create_makes_it_and_journals_it)
{
    struct rig *r = rig_new();
    create_ok(r, "a");
    cr_expect_eq(rig_state(r, "a"), SANDBOX_CREATED);
    cr_expect(rig_mounted(r, "a"));
    struct sandbox_record record;
    struct error err = {0};
    cr_assert_eq(record_load(&record, rig_path(r, "sandboxes/a"), "a", &err), 0, "%s", err.text);
    cr_expect_eq(record.state, SANDBOX_CREATED);
    cr_expect(!record.remove);
    cr_expect_eq(record.undo.n, 1);
    record_done(&record);
    rig_free(r);
}

Test(sandbox, create_refused_by_the_plan_leaves_nothing)
{
    struct rig *r = rig_new();
    r->plan_fails = STATUS_INVALID_ARGUMENT;
    const char *text = expect_status(r, ask_create(r, "a"), STATUS_INVALID_ARGUMENT);
    cr_expect_str_eq(text, "field: the plan says no");
    cr_expect_eq(rig_count(r, "sandboxes"), 0);
    expect(r, "Status", "a", STATUS_NOT_FOUND);
    r->plan_fails = STATUS_OK;
    create_ok(r, "a");
    rig_free(r);
}

Test(sandbox, create_that_fails_is_undone_before_the_answer)
{
    struct rig *r = rig_new();
    static const struct {
        enum rig_make make;
        enum status status;
        const char *text;
    } rows[] = {
        {MAKE_FAILS, STATUS_FAILED_PRECONDITION, "thing: make says no"},
        {MAKE_DIES, STATUS_INTERNAL, "signal 9"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        r->make = rows[i].make;
        struct call *c = ask_create(r, "a");
        cr_assert(run_until(r, &c->over, RIG_SECONDS));
        cr_expect_eq(rig_count(r, "sandboxes"), 0, "something is left when the answer comes");
        cr_expect(!rig_mounted(r, "a"));
        const char *text = expect_status(r, c, rows[i].status);
        cr_expect(strstr(text, rows[i].text), "%s", text);
        expect(r, "Status", "a", STATUS_NOT_FOUND);
    }
    cr_expect_eq(r->ends, 0, "there were no containers to end");
    r->make = MAKE_OK;
    create_ok(r, "a");
    rig_free(r);
}

Test(sandbox, create_whose_caller_gives_up_is_undone)
{
    struct rig *r = rig_new();
    r->make = MAKE_HANGS;
    struct call *c = ask_create(r, "a");
    run_for(r, 0.05);
    call_cancel(c);
    call_free(c);
    rig_go(r);
    expect(r, "Shutdown", "a", STATUS_OK); // parked until all is undone
    cr_expect_eq(rig_count(r, "sandboxes"), 0);
    expect(r, "Status", "a", STATUS_NOT_FOUND);
    rig_free(r);
}

Test(sandbox, create_whose_caller_gives_up_needs_no_shutdown)
{
    struct rig *r = rig_new();
    r->make = MAKE_HANGS;
    struct call *c = ask_create(r, "a");
    call_cancel(c);
    call_free(c);
    rig_go(r);
    for (int i = 0; i < 200 && rig_find(r, "a"); i++)
        run_for(r, 0.02);
    cr_expect(!rig_find(r, "a"));
    cr_expect_eq(rig_count(r, "sandboxes"), 0);
    rig_free(r);
}

Test(sandbox, a_second_create_is_refused_and_the_first_is_untouched)
{
    struct rig *r = rig_new();
    r->make = MAKE_HANGS;
    struct call *first = ask_create(r, "a");
    expect_status(r, ask_create(r, "a"), STATUS_ALREADY_EXISTS);
    rig_go(r);
    expect_status(r, first, STATUS_OK);
    cr_expect(strstr(expect_status(r, ask_create(r, "a"), STATUS_ALREADY_EXISTS), "sandbox a"));
    cr_expect(rig_mounted(r, "a"));
    cr_expect_eq(rig_state(r, "a"), SANDBOX_CREATED);
    rig_free(r);
}

Test(sandbox, create_with_more_than_a_record_holds_is_refused_before_anything_is_made)
{
    struct rig *r = rig_new();
    Sandbox__ControllerCreateRequest q = SANDBOX__CONTROLLER_CREATE_REQUEST__INIT;
    Types__Sandbox sandbox = TYPES__SANDBOX__INIT;
    Types__StringEntry label = TYPES__STRING_ENTRY__INIT, *labels[] = {&label};
    q.sandbox_id = (char *)"a";
    q.sandbox = &sandbox;
    sandbox.labels = labels;
    sandbox.n_labels = 1;
    label.key = (char *)"name";
    label.value = malloc(RECORD_SIZE_MAX + 1);
    memset(label.value, 'x', RECORD_SIZE_MAX);
    label.value[RECORD_SIZE_MAX] = '\0';
    const char *text = expect_status(r, ask_with(r, "Create", &q.base), STATUS_INVALID_ARGUMENT);
    cr_expect(strstr(text, "labels"), "%s", text);
    cr_expect_eq(rig_count(r, "sandboxes"), 0);
    // What is just taken goes all the way through the states.
    label.value[RECORD_SIZE_MAX - RECORD_GROWTH_MAX - 500] = '\0';
    r->with_init = true;
    expect_status(r, ask_with(r, "Create", &q.base), STATUS_OK);
    expect(r, "Start", "a", STATUS_OK);
    expect(r, "Stop", "a", STATUS_OK);
    rig_daemon_down(r);
    rig_daemon_up(r);
    cr_expect_eq(rig_state(r, "a"), SANDBOX_STOPPED);
    free(label.value);
    rig_free(r);
}

Test(sandbox, a_directory_that_is_in_the_way_is_left_alone)
{
    struct rig *r = rig_new();
    cr_assert_eq(mkdir(rig_path(r, "sandboxes/a"), 0700), 0);
    rig_write(r, "sandboxes/a/notes", "of an operator");
    expect_status(r, ask_create(r, "a"), STATUS_ALREADY_EXISTS);
    cr_expect(rig_exists(r, "sandboxes/a/notes"));
    expect(r, "Status", "a", STATUS_NOT_FOUND);
    rig_free(r);
}

// ---- Start --------------------------------------------------------------------------------------

Test(sandbox, start_answers_what_containerd_needs_and_only_once)
{
    struct rig *r = rig_new();
    create_ok(r, "a");
    struct call *c = ask(r, "Start", "a");
    cr_assert(run_until(r, &c->over, RIG_SECONDS));
    Sandbox__ControllerStartResponse *a =
        call_answer(c, &sandbox__controller_start_response__descriptor);
    cr_expect_str_eq(a->address, task_peer_address(r->tasks));
    cr_expect_eq(a->version, 3);
    cr_expect(a->spec && any_is(a->spec, ANY_OCI_SPEC));
    api_message_free((ProtobufCMessage *)a);
    call_free(c);
    cr_expect_eq(rig_state(r, "a"), SANDBOX_READY);
    cr_expect(strstr(expect(r, "Start", "a", STATUS_FAILED_PRECONDITION), "already started"));
    expect(r, "Stop", "a", STATUS_OK);
    cr_expect(strstr(expect(r, "Start", "a", STATUS_FAILED_PRECONDITION), "stopped"));
    expect(r, "Start", "unknown", STATUS_NOT_FOUND);
    rig_free(r);
}

Test(sandbox, start_waits_for_the_task_server)
{
    struct rig *r = rig_new();
    create_ok(r, "a");
    create_ok(r, "b");
    create_ok(r, "c");
    create_ok(r, "stopped");
    expect(r, "Stop", "stopped", STATUS_OK);
    rig_task_server_down(r);
    run_for(r, 0.05);
    struct call *late = ask(r, "Start", "stopped");
    cr_expect(late->over, "what cannot be started waits for nothing");
    expect_status(r, late, STATUS_FAILED_PRECONDITION);
    struct call *a = ask(r, "Start", "a"), *b = ask(r, "Start", "b"), *c = ask(r, "Start", "c");
    run_for(r, 0.05);
    cr_expect(!a->over && !b->over && !c->over);
    call_cancel(b);
    expect(r, "Stop", "a", STATUS_OK); // its Start is still open
    rig_task_server_up(r);
    expect_status(r, c, STATUS_OK);
    expect_status(r, a, STATUS_FAILED_PRECONDITION);
    call_free(b);
    cr_expect_eq(rig_state(r, "b"), SANDBOX_CREATED, "a cancelled Start starts nothing");
    rig_free(r);
}

// ---- Stop and Shutdown --------------------------------------------------------------------------

Test(sandbox, stop_ends_containers_and_undoes_all_and_may_come_again)
{
    struct rig *r = rig_new();
    create_ok(r, "a");
    expect(r, "Start", "a", STATUS_OK);
    struct call *one = ask(r, "Stop", "a"), *two = ask(r, "Stop", "a");
    expect_status(r, one, STATUS_OK);
    expect_status(r, two, STATUS_OK);
    cr_expect_eq(r->ends, 1);
    cr_expect(!rig_mounted(r, "a"));
    expect(r, "Stop", "a", STATUS_OK);
    cr_expect_eq(r->ends, 1);
    cr_expect_eq(rig_state(r, "a"), SANDBOX_STOPPED);
    expect(r, "Status", "a", STATUS_OK);
    expect(r, "Shutdown", "a", STATUS_OK);
    cr_expect_eq(rig_count(r, "sandboxes"), 0);
    expect(r, "Stop", "a", STATUS_NOT_FOUND);
    expect(r, "Shutdown", "a", STATUS_NOT_FOUND);
    rig_free(r);
}

Test(sandbox, shutdown_stops_what_runs)
{
    struct rig *r = rig_new();
    create_ok(r, "a");
    expect(r, "Start", "a", STATUS_OK);
    struct call *wait = ask(r, "Wait", "a");
    expect(r, "Shutdown", "a", STATUS_OK);
    cr_expect(wait->over);
    expect_status(r, wait, STATUS_OK);
    cr_expect_eq(rig_count(r, "sandboxes"), 0);
    rig_free(r);
}

Test(sandbox, shutdown_while_stop_is_at_work_answers_both)
{
    struct rig *r = rig_new();
    create_ok(r, "a");
    r->end = END_HANGS;
    struct call *stop = ask(r, "Stop", "a");
    run_for(r, 0.05);
    struct call *shutdown = ask(r, "Shutdown", "a");
    cr_assert(r->hanging);
    rpc_call_reply(r->hanging, (const uint8_t *)"", 0);
    expect_status(r, stop, STATUS_OK);
    expect_status(r, shutdown, STATUS_OK);
    cr_expect(!rig_find(r, "a"));
    rig_free(r);
}

Test(sandbox, stop_and_shutdown_while_creating_wait_for_create)
{
    struct rig *r = rig_new();
    static const char *const verbs[] = {"Stop", "Shutdown"};
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
        unlink(r->go);
        r->make = MAKE_HANGS;
        struct call *create = ask_create(r, verbs[i]), *end = ask(r, verbs[i], verbs[i]);
        run_for(r, 0.05);
        cr_expect(!end->over);
        expect(r, "Status", verbs[i], STATUS_OK);
        rig_go(r);
        expect_status(r, create, STATUS_OK);
        expect_status(r, end, STATUS_OK);
        cr_expect(!rig_mounted(r, verbs[i]));
        cr_expect_eq(rig_find(r, verbs[i]) != NULL, i == 0);
    }
    rig_free(r);
}

Test(sandbox, a_stop_whose_caller_gives_up_is_made_all_the_same)
{
    struct rig *r = rig_new();
    r->make = MAKE_HANGS;
    struct call *create = ask_create(r, "a"), *stop = ask(r, "Stop", "a");
    call_cancel(stop);
    call_free(stop);
    rig_go(r);
    expect_status(r, create, STATUS_OK);
    expect(r, "Wait", "a", STATUS_OK);
    cr_expect_eq(rig_state(r, "a"), SANDBOX_STOPPED);
    rig_free(r);
}

Test(sandbox, stop_and_wait_of_a_create_that_fails_are_answered)
{
    struct rig *r = rig_new();
    r->make = MAKE_HANGS_AND_FAILS;
    struct call *create = ask_create(r, "a"), *stop = ask(r, "Stop", "a");
    struct call *wait = ask(r, "Wait", "a");
    rig_go(r);
    expect_status(r, create, STATUS_FAILED_PRECONDITION);
    expect_status(r, stop, STATUS_OK);
    cr_assert(run_until(r, &wait->over, RIG_SECONDS));
    Sandbox__ControllerWaitResponse *a =
        call_answer(wait, &sandbox__controller_wait_response__descriptor);
    cr_expect_eq(a->exit_status, 255);
    cr_expect(a->exited_at && a->exited_at->seconds > 0);
    api_message_free((ProtobufCMessage *)a);
    call_free(wait);
    cr_expect(!rig_find(r, "a"));
    rig_free(r);
}

// An undo step that cannot succeed, until it is taken away again.
static void jam(struct sandbox *s)
{
    cr_assert_eq(undo_push_path(&s->record.undo, UNDO_CGROUP, "/not/../valid"), 0);
}

static void unjam(struct sandbox *s)
{
    free(s->record.undo.steps[--s->record.undo.n].path);
}

Test(sandbox, stop_that_fails_says_why_and_can_be_repeated)
{
    struct rig *r = rig_new();
    create_ok(r, "a");
    expect(r, "Start", "a", STATUS_OK);
    struct sandbox *s = rig_find(r, "a");
    struct call *wait = ask(r, "Wait", "a");
    jam(s);
    const char *text = expect(r, "Shutdown", "a", STATUS_INVALID_ARGUMENT);
    cr_expect(strstr(text, "sandbox a") && strstr(text, "cgroup"), "%s", text);
    cr_expect_eq(rig_state(r, "a"), SANDBOX_STOPPING);
    cr_expect(!rig_mounted(r, "a"), "the other steps were made");
    cr_expect(!wait->over);
    expect(r, "Stop", "a", STATUS_INVALID_ARGUMENT);
    unjam(s);
    expect(r, "Shutdown", "a", STATUS_OK);
    expect_status(r, wait, STATUS_OK);
    cr_expect_eq(rig_count(r, "sandboxes"), 0);
    rig_free(r);
}

Test(sandbox, stop_that_nobody_repeats_is_repeated_by_the_sweep)
{
    struct rig *r = rig_new();
    create_ok(r, "a");
    expect(r, "Start", "a", STATUS_OK);
    struct call *wait = ask(r, "Wait", "a");
    struct sandbox *s = rig_find(r, "a");
    jam(s);
    sandbox_died(s, 137);
    run_for(r, 0.2);
    cr_expect(!wait->over && !s->job && !s->ending);
    unjam(s);
    sandbox_manager_sweep(&r->m, 0);
    cr_assert(run_until(r, &wait->over, RIG_SECONDS));
    Sandbox__ControllerWaitResponse *a =
        call_answer(wait, &sandbox__controller_wait_response__descriptor);
    cr_expect_eq(a->exit_status, 137, "the first reason counts");
    api_message_free((ProtobufCMessage *)a);
    call_free(wait);
    rig_free(r);
}

Test(sandbox, stop_goes_on_without_the_task_server)
{
    struct rig *r = rig_new();
    create_ok(r, "a");
    r->end = END_FAILS;
    expect(r, "Stop", "a", STATUS_OK);
    cr_expect_eq(r->ends, 1);
    // It is not there: its successor is asked.
    create_ok(r, "b");
    r->end = END_OK;
    rig_task_server_down(r);
    run_for(r, 0.05);
    struct call *stop = ask(r, "Stop", "b");
    run_for(r, 0.1);
    cr_expect(!stop->over);
    rig_task_server_up(r);
    expect_status(r, stop, STATUS_OK);
    cr_expect_eq(r->ends, 2);
    rig_free(r);
}

Test(sandbox, a_task_server_that_dies_while_it_ends_containers_has_a_successor)
{
    struct rig *r = rig_new();
    create_ok(r, "a");
    r->end = END_HANGS;
    struct call *stop = ask(r, "Stop", "a");
    run_for(r, 0.05);
    cr_assert(r->hanging);
    rig_task_server_down(r);
    run_for(r, 0.05);
    cr_expect(!stop->over);
    r->end = END_OK;
    rig_task_server_up(r);
    expect_status(r, stop, STATUS_OK);
    cr_expect_eq(r->ends, 2);
    rig_free(r);
}

// ---- Wait ---------------------------------------------------------------------------------------

Test(sandbox, waits_are_parked_answered_and_limited)
{
    struct rig *r = rig_new();
    create_ok(r, "a");
    struct call *waits[SANDBOX_WAITERS_MAX];
    for (size_t i = 0; i < ARRAY_SIZE(waits); i++)
        waits[i] = ask(r, "Wait", "a");
    expect(r, "Wait", "a", STATUS_RESOURCE_EXHAUSTED);
    call_cancel(waits[7]);
    call_free(waits[7]);
    waits[7] = ask(r, "Wait", "a");
    cr_expect(!waits[7]->over);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct call *stop = ask(r, "Stop", "a");
    cr_assert(run_until(r, &stop->over, RIG_SECONDS));
    for (size_t i = 0; i < ARRAY_SIZE(waits); i++) {
        Sandbox__ControllerWaitResponse *a =
            call_answer(waits[i], &sandbox__controller_wait_response__descriptor);
        cr_expect_eq(a->exit_status, 0);
        cr_expect(a->exited_at && a->exited_at->seconds >= now.tv_sec);
        api_message_free((ProtobufCMessage *)a);
        call_free(waits[i]);
    }
    call_free(stop);
    struct call *late = ask(r, "Wait", "a");
    cr_expect(late->over, "answered at once");
    call_free(late);
    expect(r, "Wait", "unknown", STATUS_NOT_FOUND);
    rig_free(r);
}

Test(sandbox, stops_are_limited_too)
{
    struct rig *r = rig_new();
    create_ok(r, "a");
    r->end = END_HANGS;
    struct call *stops[SANDBOX_WAITERS_MAX];
    for (size_t i = 0; i < ARRAY_SIZE(stops); i++)
        stops[i] = ask(r, "Stop", "a");
    expect(r, "Stop", "a", STATUS_RESOURCE_EXHAUSTED);
    cr_assert(r->hanging || (run_for(r, 0.1), r->hanging));
    rpc_call_reply(r->hanging, (const uint8_t *)"", 0);
    for (size_t i = 0; i < ARRAY_SIZE(stops); i++)
        expect_status(r, stops[i], STATUS_OK);
    rig_free(r);
}

// ---- the init -----------------------------------------------------------------------------------

Test(sandbox, dies_with_its_init)
{
    struct rig *r = rig_new();
    r->with_init = true;
    create_ok(r, "a");
    expect(r, "Start", "a", STATUS_OK);
    struct sandbox *s = rig_find(r, "a");
    cr_assert(process_alive(&s->record.init));
    struct call *wait = ask(r, "Wait", "a");
    kill(s->record.init.pid, SIGKILL);
    cr_assert(run_until(r, &wait->over, RIG_SECONDS));
    Sandbox__ControllerWaitResponse *a =
        call_answer(wait, &sandbox__controller_wait_response__descriptor);
    cr_expect_eq(a->exit_status, 137);
    api_message_free((ProtobufCMessage *)a);
    call_free(wait);
    cr_expect_eq(r->ends, 1, "its containers are ended");
    cr_expect(!rig_mounted(r, "a"));
    rig_free(r);
}

Test(sandbox, stop_ends_the_init)
{
    struct rig *r = rig_new();
    r->with_init = true;
    create_ok(r, "a");
    struct process_id init = rig_find(r, "a")->record.init;
    expect(r, "Stop", "a", STATUS_OK);
    cr_expect(!process_alive(&init));
    rig_free(r);
}

// Whichever of them it is, and whoever watches them.
Test(sandbox, the_end_of_a_helper_is_its_end)
{
    struct rig *r = rig_new();
    r->with_init = r->with_helpers = true;
    for (size_t round = 0; round < 2 * (SANDBOX_PROCESSES_MAX - 1); round++) {
        struct process_id all[SANDBOX_PROCESSES_MAX];
        create_ok(r, "a");
        expect(r, "Start", "a", STATUS_OK);
        struct sandbox *s = rig_find(r, "a");
        cr_assert_eq(s->n_processes, ARRAY_SIZE(all));
        for (size_t i = 0; i < ARRAY_SIZE(all); i++)
            all[i] = s->processes[i].id;
        if (round % 2) {
            rig_daemon_down(r);
            rig_daemon_up(r);
        }
        struct call *wait = ask(r, "Wait", "a");
        kill(all[1 + round / 2].pid, SIGKILL);
        expect_status(r, wait, STATUS_OK);
        for (size_t i = 0; i < ARRAY_SIZE(all); i++)
            cr_expect(!process_alive(&all[i]), "round %zu, %zu", round, i);
        expect(r, "Shutdown", "a", STATUS_OK);
    }
    rig_free(r);
}

// ---- recovery -----------------------------------------------------------------------------------

Test(sandbox, living_ones_are_taken_back)
{
    struct rig *r = rig_new();
    r->with_init = true;
    create_ok(r, "created");
    create_ok(r, "ready");
    expect(r, "Start", "ready", STATUS_OK);
    create_ok(r, "stopped");
    expect(r, "Stop", "stopped", STATUS_OK);
    struct process_id init = rig_find(r, "ready")->record.init;
    struct call *wait = ask(r, "Wait", "ready");
    call_cancel(wait); // the connection is gone
    call_free(wait);
    rig_daemon_down(r);
    rig_daemon_up(r);
    cr_expect_eq(rig_state(r, "created"), SANDBOX_CREATED);
    cr_expect_eq(rig_state(r, "ready"), SANDBOX_READY);
    cr_expect_eq(rig_state(r, "stopped"), SANDBOX_STOPPED);
    cr_expect(rig_mounted(r, "ready"));
    expect(r, "Wait", "stopped", STATUS_OK);
    expect(r, "Start", "created", STATUS_OK);
    wait = ask(r, "Wait", "ready");
    kill(init.pid, SIGKILL); // no child of a successor's, but watched
    expect_status(r, wait, STATUS_OK);
    expect(r, "Shutdown", "created", STATUS_OK);
    rig_free(r);
}

Test(sandbox, one_that_died_meanwhile_is_ended_with_its_containers)
{
    struct rig *r = rig_new();
    r->with_init = true;
    create_ok(r, "init");
    expect(r, "Start", "init", STATUS_OK);
    struct process_id init = rig_find(r, "init")->record.init;
    unsigned before = r->ends;
    rig_daemon_down(r);
    kill(init.pid, SIGKILL);
    run_for(r, 0.05);
    rig_daemon_up(r);
    struct call *wait = ask(r, "Wait", "init");
    cr_assert(run_until(r, &wait->over, RIG_SECONDS));
    Sandbox__ControllerWaitResponse *a =
        call_answer(wait, &sandbox__controller_wait_response__descriptor);
    cr_expect_eq(a->exit_status, 255);
    api_message_free((ProtobufCMessage *)a);
    call_free(wait);
    cr_expect_eq(r->ends, before + 1, "the task server was not connected yet, but asked");
    rig_daemon_down(r);
    r->check_fails = STATUS_NOT_FOUND;
    rig_daemon_up(r);
    cr_expect_eq(rig_state(r, "init"), SANDBOX_STOPPED, "a stopped one is not checked");
    rig_free(r);
}

Test(sandbox, want_of_resources_disowns_nobody)
{
    struct rig *r = rig_new();
    struct error err = {0};
    create_ok(r, "a");
    expect(r, "Start", "a", STATUS_OK);
    rig_daemon_down(r);
    r->check_fails = STATUS_RESOURCE_EXHAUSTED;
    rig_daemon_up_with(r, &rig_ops);
    cr_expect_lt(sandbox_manager_recover(&r->m, &err), 0);
    cr_expect(strstr(err.text, "sandbox a"), "%s", err.text);
    rig_daemon_down(r);
    r->check_fails = STATUS_OK;
    rig_daemon_up(r);
    cr_expect_eq(rig_state(r, "a"), SANDBOX_READY);
    rig_free(r);
}

Test(sandbox, a_create_that_was_cut_off_is_undone)
{
    struct rig *r = rig_new();
    r->make = MAKE_HANGS;
    struct call *c = ask_create(r, "a");
    for (int i = 0; i < 500 && !rig_mounted(r, "a"); i++)
        run_for(r, 0.01);
    cr_assert(rig_mounted(r, "a"));
    call_cancel(c);
    call_free(c);
    rig_daemon_down(r);
    run_for(r, 0.05);
    rig_daemon_up(r);
    for (int i = 0; i < 500 && rig_find(r, "a"); i++)
        run_for(r, 0.01);
    cr_expect(!rig_mounted(r, "a"));
    cr_expect_eq(rig_count(r, "sandboxes"), 0);
    cr_expect_eq(rig_count(r, "quarantine"), 0);
    rig_free(r);
}

Test(sandbox, a_create_whose_caller_gave_up_is_not_taken_back)
{
    struct rig *r = rig_new();
    r->end = END_HANGS;
    r->make = MAKE_HANGS;
    struct call *c = ask_create(r, "a");
    call_cancel(c);
    call_free(c);
    struct error err = {0};
    // Cut off between the record of its success and that of its end.
    struct sandbox *s = rig_find(r, "a");
    job_abandon(s->job);
    s->job = NULL;
    s->record.state = SANDBOX_CREATED;
    cr_assert_eq(pod_store(&s->record.pod, s->dir, &err), 0);
    cr_assert_eq(record_store(&s->record, s->dir, &err), 0);
    r->end = END_OK;
    rig_daemon_down(r);
    rig_daemon_up(r);
    for (int i = 0; i < 500 && rig_find(r, "a"); i++)
        run_for(r, 0.01);
    cr_expect_eq(rig_count(r, "sandboxes"), 0);
    rig_free(r);
}

Test(sandbox, a_stop_that_was_cut_off_goes_on_with_its_status)
{
    struct rig *r = rig_new();
    create_ok(r, "a");
    expect(r, "Start", "a", STATUS_OK);
    r->end = END_HANGS;
    sandbox_died(rig_find(r, "a"), 137);
    run_for(r, 0.05);
    cr_assert(r->hanging);
    rig_daemon_down(r);
    r->end = END_OK;
    rig_daemon_up(r);
    struct call *wait = ask(r, "Wait", "a");
    cr_assert(run_until(r, &wait->over, RIG_SECONDS));
    Sandbox__ControllerWaitResponse *a =
        call_answer(wait, &sandbox__controller_wait_response__descriptor);
    cr_expect_eq(a->exit_status, 137);
    api_message_free((ProtobufCMessage *)a);
    call_free(wait);
    cr_expect(!rig_mounted(r, "a"));
    rig_free(r);
}

Test(sandbox, a_removal_that_was_cut_off_is_finished)
{
    struct rig *r = rig_new();
    create_ok(r, "renamed");
    expect(r, "Stop", "renamed", STATUS_OK);
    create_ok(r, "recorded");
    expect(r, "Stop", "recorded", STATUS_OK);
    struct sandbox *s = rig_find(r, "recorded");
    struct error err = {0};
    s->record.remove = true;
    cr_assert_eq(record_store(&s->record, s->dir, &err), 0);
    char from[PATH_MAX];
    strcpy(from, rig_path(r, "sandboxes/renamed"));
    cr_assert_eq(rename(from, rig_path(r, "sandboxes/" SANDBOX_REMOVED_PREFIX "renamed")), 0);
    cr_assert_eq(unlink(rig_path(r, "sandboxes/" SANDBOX_REMOVED_PREFIX "renamed/sandbox.json")),
                 0);
    // Before the first record.
    cr_assert_eq(mkdir(rig_path(r, "sandboxes/empty"), 0700), 0);
    cr_assert_eq(mkdir(rig_path(r, "sandboxes/half"), 0700), 0);
    rig_write(r, "sandboxes/half/.sandbox.json.tmp", "{");
    rig_daemon_down(r);
    rig_daemon_up(r);
    cr_expect_eq(rig_count(r, "sandboxes"), 0);
    cr_expect_eq(rig_count(r, "quarantine"), 0);
    rig_free(r);
}

Test(sandbox, what_cannot_be_read_is_put_aside_whole)
{
    struct rig *r = rig_new();
    static const char *const ids[] = {"broken", "future", "foreign", "podless", "recordless"};
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        create_ok(r, ids[i]);
        expect(r, "Start", ids[i], STATUS_OK);
    }
    create_ok(r, "healthy");
    rig_write(r, "sandboxes/broken/sandbox.json", "{\"version\":1,\"id\":\"bro");
    rig_write(r, "sandboxes/future/sandbox.json", "{\"version\":2}");
    rig_write(r, "sandboxes/foreign/sandbox.json",
              "{\"version\":1,\"id\":\"healthy\",\"state\":\"ready\",\"undo\":[]}");
    cr_assert_eq(unlink(rig_path(r, "sandboxes/podless/pod.json")), 0);
    cr_assert_eq(unlink(rig_path(r, "sandboxes/recordless/sandbox.json")), 0);
    rig_write(r, "sandboxes/stray", "file");
    rig_write(r, "sandboxes/.hidden", "file");
    rig_daemon_down(r);
    rig_daemon_up(r);
    cr_expect_eq(rig_state(r, "healthy"), SANDBOX_CREATED);
    cr_expect_eq(rig_count(r, "sandboxes"), 1);
    cr_expect_eq(rig_count(r, "quarantine"), ARRAY_SIZE(ids) + 2);
    cr_expect_eq(r->ends, 0);
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
        expect(r, "Status", ids[i], STATUS_NOT_FOUND);
    char command[256];
    snprintf(command, sizeof command, "test $(grep -c ' %s/quarantine/.*/mnt ' /proc/mounts) = 5",
             r->dir);
    cr_expect_eq(system(command), 0, "what lives there is still mounted");
    rig_free(r);
}

// ---- the sweep ----------------------------------------------------------------------------------

static time_t boottime_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return t.tv_sec;
}

static void sweep_until_gone(struct rig *r, const char *id, time_t now)
{
    sandbox_manager_sweep(&r->m, now);
    for (int i = 0; i < 500 && rig_find(r, id); i++)
        run_for(r, 0.01);
    cr_expect(!rig_find(r, id), "%s", id);
}

Test(sandbox, one_that_containerd_has_forgotten_is_ended_when_its_network_is_gone)
{
    struct rig *r = rig_new();
    Sandbox__ControllerCreateRequest q = SANDBOX__CONTROLLER_CREATE_REQUEST__INIT;
    static const struct {
        const char *id, *netns;
    } rows[] = {{"gone", "/run/netns/no-such-one"}, {"there", "/proc/self/ns/net"}, {"host", ""}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        q.sandbox_id = (char *)rows[i].id;
        q.netns_path = (char *)rows[i].netns;
        expect_status(r, ask_with(r, "Create", &q.base), STATUS_OK);
    }
    static const char *const started[] = {"lost", "waited"};
    q.netns_path = (char *)rows[0].netns;
    for (size_t i = 0; i < ARRAY_SIZE(started); i++) {
        q.sandbox_id = (char *)started[i];
        expect_status(r, ask_with(r, "Create", &q.base), STATUS_OK);
        expect(r, "Start", started[i], STATUS_OK);
    }
    struct call *wait = ask(r, "Wait", "waited");

    time_t now = boottime_now();
    sweep_until_gone(r, "gone", now);
    cr_expect(!rig_exists(r, "sandboxes/gone"));
    cr_expect_eq(rig_state(r, "lost"), SANDBOX_READY, "containerd may not have asked yet");
    sweep_until_gone(r, "lost", now + 60);
    cr_expect_eq(rig_state(r, "host"), SANDBOX_CREATED);
    sweep_until_gone(r, "host", now + 4000);
    cr_expect_eq(rig_state(r, "there"), SANDBOX_CREATED);
    cr_expect_eq(rig_state(r, "waited"), SANDBOX_READY);
    expect(r, "Shutdown", "waited", STATUS_OK);
    expect_status(r, wait, STATUS_OK);
    rig_free(r);
}

Test(sandbox, a_daemon_whose_sandboxes_all_run_sets_no_timer)
{
    struct rig *r = rig_new();
    cr_expect(!ev_is_active(&r->m.sweep));
    expect(r, "Create", "a", STATUS_OK);
    cr_expect(ev_is_active(&r->m.sweep), "it may never be started");
    ev_feed_event(r->loop, &r->m.sweep, EV_TIMER);
    run_for(r, 0.01);
    cr_expect(ev_is_active(&r->m.sweep));
    expect(r, "Start", "a", STATUS_OK);
    struct call *wait = ask(r, "Wait", "a");
    ev_feed_event(r->loop, &r->m.sweep, EV_TIMER);
    run_for(r, 0.01);
    cr_expect(!ev_is_active(&r->m.sweep));
    call_cancel(wait);
    cr_expect(ev_is_active(&r->m.sweep), "nobody waits: containerd may have forgotten it");
    call_free(wait);
    rig_free(r);
}

Test(sandbox, a_failed_create_that_cannot_be_undone_is_undone_later)
{
    struct rig *r = rig_new();
    r->make = MAKE_HANGS;
    struct call *c = ask_create(r, "a");
    struct sandbox *s = rig_find(r, "a");
    jam(s);
    s->end_asked = s->record.remove = true;
    rig_go(r);
    expect_status(r, c, STATUS_OK);
    run_for(r, 0.3);
    cr_assert_eq(rig_state(r, "a"), SANDBOX_STOPPING);
    unjam(s);
    sandbox_manager_sweep(&r->m, 0);
    for (int i = 0; i < 500 && rig_find(r, "a"); i++)
        run_for(r, 0.01);
    cr_expect(!rig_find(r, "a"));
    cr_expect_eq(rig_count(r, "sandboxes"), 0);
    rig_free(r);
}

// A sample of the manager's page; -1 if it is not there.
static long sample(struct rig *r, const char *name)
{
    struct buf out;
    struct metrics_page page;
    char line[256];
    buf_init(&out, METRICS_PAGE_MAX);
    metrics_page_init(&page, &out);
    sandbox_metrics(&page, &r->m);
    cr_assert_eq(page.failed, 0);
    snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(buf_cstr(&out), line);
    long value = at ? strtol(at + strlen(line), NULL, 10) : -1;
    buf_free(&out);
    return value;
}

Test(sandbox, metrics_tell_states_parked_calls_and_stages)
{
    struct rig *r = rig_new();
    create_ok(r, "a");
    create_ok(r, "b");
    expect(r, "Start", "a", STATUS_OK);
    struct call *wait = ask(r, "Wait", "a");
    cr_expect_eq(sample(r, "kuasar_sandboxes{state=\"created\"}"), 1);
    cr_expect_eq(sample(r, "kuasar_sandboxes{state=\"ready\"}"), 1);
    cr_expect_eq(sample(r, "kuasar_parked_calls{for=\"sandbox_exit\"}"), 1);
    cr_expect_eq(sample(r, "kuasar_operation_duration_seconds_count{operation=\"sandbox_create\"}"),
                 2);
    cr_expect_eq(sample(r, "kuasar_operation_duration_seconds_count{operation=\"sandbox_stop\"}"),
                 -1);

    const struct stages *s = &rig_find(r, "a")->timings[SANDBOX_TIMING_CREATE];
    uint64_t sum = 0;
    for (size_t i = 0; i < stages_count(s->plan); i++) {
        cr_expect_gt(s->took[i], 0, "%s", s->plan->names[i]);
        sum += s->took[i];
    }
    cr_expect_eq(sum, stages_total(s));

    expect(r, "Stop", "a", STATUS_OK);
    expect_status(r, wait, STATUS_OK);
    s = &rig_find(r, "a")->timings[SANDBOX_TIMING_STOP];
    for (size_t i = 0; i < stages_count(s->plan); i++)
        cr_expect_gt(s->took[i], 0, "%s", s->plan->names[i]);
    cr_expect_eq(sample(r, "kuasar_sandboxes{state=\"stopped\"}"), 1);
    cr_expect_eq(sample(r, "kuasar_parked_calls{for=\"sandbox_exit\"}"), 0);
    cr_expect_eq(sample(r, "kuasar_stage_duration_seconds_count{operation=\"sandbox_stop\",stage="
                           "\"undo\"}"),
                 1);
    rig_free(r);
}

// ---- sizes --------------------------------------------------------------------------------------

static struct call *ask_update(struct rig *r, const char *id, const char *json)
{
    Sandbox__ControllerUpdateRequest u = SANDBOX__CONTROLLER_UPDATE_REQUEST__INIT;
    Types__Sandbox sandbox = TYPES__SANDBOX__INIT;
    Types__AnyEntry entry = TYPES__ANY_ENTRY__INIT, *entries[] = {&entry};
    Google__Any value = GOOGLE__ANY__INIT;
    char *fields[] = {(char *)"extensions"};
    u.sandbox_id = (char *)id;
    u.fields = fields;
    u.n_fields = 1;
    u.sandbox = &sandbox;
    sandbox.extensions = entries;
    sandbox.n_extensions = 1;
    entry.key = (char *)"updated-resources";
    entry.value = &value;
    value.type_url = (char *)ANY_UPDATED_RESOURCES;
    value.value = (ProtobufCBinaryData){strlen(json), (uint8_t *)json};
    return ask_with(r, "Update", &u.base);
}

#define MEMORY(n) "{\"Overhead\":null,\"Resources\":{\"memory_limit_in_bytes\":" #n "}}"

static int64_t journaled_memory(struct rig *r, const char *id)
{
    struct sandbox_record record;
    struct error err = {0};
    cr_assert_eq(record_load(&record, rig_path(r, "sandboxes/%s", id), id, &err), 0, "%s",
                 err.text);
    int64_t n = record.sizes.resources.memory_limit_in_bytes;
    record_done(&record);
    return n;
}

Test(sandbox, a_new_size_is_made_journaled_and_kept_over_a_kill)
{
    struct rig *r = rig_new();
    create_ok(r, "a");
    expect_status(r, ask_update(r, "a", MEMORY(4096)), STATUS_OK);
    cr_expect(rig_exists(r, "resized"));
    cr_expect_eq(journaled_memory(r, "a"), 4096);
    rig_daemon_down(r);
    rig_daemon_up(r);
    cr_expect_eq(rig_find(r, "a")->record.sizes.resources.memory_limit_in_bytes, 4096);
    rig_free(r);
}

Test(sandbox, a_size_that_cannot_be_made_changes_nothing)
{
    struct rig *r = rig_new();
    create_ok(r, "a");
    expect_status(r, ask_update(r, "a", MEMORY(4096)), STATUS_OK);
    r->resize_fails = STATUS_FAILED_PRECONDITION;
    const char *text =
        expect_status(r, ask_update(r, "a", MEMORY(8192)), STATUS_FAILED_PRECONDITION);
    cr_expect(strstr(text, "no such size"), "%s", text);
    cr_expect_eq(journaled_memory(r, "a"), 4096);
    cr_expect_eq(rig_find(r, "a")->record.sizes.resources.memory_limit_in_bytes, 4096);
    expect_status(r, ask_update(r, "a", MEMORY(-5)), STATUS_INVALID_ARGUMENT);
    cr_expect_eq(journaled_memory(r, "a"), 4096);
    rig_free(r);
}

Test(sandbox, one_size_at_a_time_and_only_of_the_living)
{
    struct rig *r = rig_new();
    create_ok(r, "a");
    r->resize_hangs = true;
    struct call *first = ask_update(r, "a", MEMORY(4096));
    expect_status(r, ask_update(r, "a", MEMORY(8192)), STATUS_UNAVAILABLE);
    rig_go(r);
    expect_status(r, first, STATUS_OK);
    expect(r, "Stop", "a", STATUS_OK);
    expect_status(r, ask_update(r, "a", MEMORY(8192)), STATUS_FAILED_PRECONDITION);
    expect_status(r, ask_update(r, "none", MEMORY(8192)), STATUS_NOT_FOUND);
    rig_free(r);
}

Test(sandbox, a_removal_does_not_wait_for_a_new_size)
{
    struct rig *r = rig_new();
    create_ok(r, "a");
    r->resize_hangs = true;
    struct call *resize = ask_update(r, "a", MEMORY(4096));
    expect(r, "Shutdown", "a", STATUS_OK);
    expect_status(r, resize, STATUS_UNAVAILABLE);
    cr_expect(!rig_find(r, "a"));
    rig_free(r);
}

Test(sandbox, an_end_of_the_daemon_does_not_wait_for_a_new_size)
{
    struct rig *r = rig_new();
    create_ok(r, "a");
    r->resize_hangs = true;
    struct call *resize = ask_update(r, "a", MEMORY(4096));
    rig_daemon_down(r);
    expect_status(r, resize, STATUS_UNAVAILABLE);
    rig_daemon_up(r);
    rig_free(r);
}
