// The way of events to containerd: order, absence, refusal, limits.
#include "support.h"

static struct node *plain_node(void)
{
    struct node *n = calloc(1, sizeof *n);
    strcpy(n->dir, "/tmp/task-test.XXXXXX");
    cr_assert(mkdtemp(n->dir));
    snprintf(n->events_sock, sizeof n->events_sock, "%s/c.sock", n->dir);
    log_setup("test", LOG_LEVEL_ERROR);
    n->loop = ev_loop_new(EVFLAG_AUTO);
    return n;
}

static void plain_free(struct node *n)
{
    ttrpc_server_free(n->containerd);
    ev_loop_destroy(n->loop);
    for (size_t i = 0; i < n->n_events; i++)
        free(n->events[i]);
    file_remove_tree_at(AT_FDCWD, n->dir);
    free(n);
}

static void publish(struct task_events *e, unsigned number)
{
    Events__TaskExit x = EVENTS__TASK_EXIT__INIT;
    x.container_id = (char *)"c";
    x.id = (char *)"c";
    x.exit_status = number;
    task_events_publish(e, "ns", "/tasks/exit", ANY_TASK_EXIT, (const ProtobufCMessage *)&x);
}

static void settle(struct node *n, struct task_events *e, double seconds)
{
    for (double t = 0; t < seconds && task_events_pending(e); t += 0.02)
        node_run(n, 0.02);
}

static void expect_order(struct node *n, unsigned first, size_t count)
{
    cr_expect(n->n_events == count, "%zu of %zu events", n->n_events, count);
    for (size_t i = 0; i < n->n_events; i++) {
        char text[64];
        snprintf(text, sizeof text, "ns /tasks/exit c c %zu", first + i);
        cr_expect(strcmp(n->events[i], text) == 0, "%s at %zu", n->events[i], i);
    }
}

Test(events, come_in_order)
{
    struct node *n = plain_node();
    node_containerd_up(n);
    struct task_events *e = task_events_new(n->loop, n->events_sock);
    for (unsigned i = 0; i < 100; i++)
        publish(e, i);
    settle(n, e, 5);
    expect_order(n, 0, 100);
    task_events_free(e);
    plain_free(n);
}

Test(events, wait_for_containerd)
{
    struct node *n = plain_node();
    struct task_events *e = task_events_new(n->loop, n->events_sock);
    log_setup("test", LOG_LEVEL_ERROR);
    for (unsigned i = 0; i < 10; i++)
        publish(e, i);
    node_run(n, 0.3);
    cr_expect(task_events_pending(e) == 10);
    node_containerd_up(n);
    settle(n, e, 5);
    expect_order(n, 0, 10);
    n->containerd = ttrpc_server_free(n->containerd); // it restarts
    publish(e, 10);
    node_run(n, 0.2);
    node_containerd_up(n);
    settle(n, e, 5);
    expect_order(n, 0, 11);
    cr_expect(task_events_dropped(e) == 0);
    task_events_free(e);
    plain_free(n);
}

Test(events, that_are_refused_hold_up_nothing)
{
    struct node *n = plain_node();
    node_containerd_up(n);
    struct task_events *e = task_events_new(n->loop, n->events_sock);
    n->refuse_events = STATUS_INVALID_ARGUMENT;
    publish(e, 0);
    settle(n, e, 5);
    cr_expect(task_events_pending(e) == 0);
    cr_expect(task_events_dropped(e) == 1);
    n->refuse_events = STATUS_UNAVAILABLE; // not now: again later
    publish(e, 1);
    node_run(n, 0.2);
    cr_expect(task_events_pending(e) == 1);
    n->refuse_events = STATUS_OK;
    settle(n, e, 5);
    expect_order(n, 1, 1);
    task_events_free(e);
    plain_free(n);
}

Test(events, are_bounded_and_the_oldest_go)
{
    struct node *n = plain_node();
    struct task_events *e = task_events_new(n->loop, n->events_sock);
    for (unsigned i = 0; i < TASK_EVENTS_MAX + 50; i++)
        publish(e, i);
    cr_expect(task_events_pending(e) == TASK_EVENTS_MAX);
    cr_expect(task_events_dropped(e) == 50);
    node_containerd_up(n);
    for (int i = 0; i < 300 && n->n_events < EVENTS_SEEN; i++)
        node_run(n, 0.05);
    expect_order(n, 50, EVENTS_SEEN);
    task_events_free(e);
    plain_free(n);
}

Test(events, without_containerd_are_nothing)
{
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    struct task_events *e = task_events_new(loop, "");
    publish(e, 1);
    cr_expect(task_events_pending(e) == 0);
    task_events_free(e);
    ev_loop_destroy(loop);
}
