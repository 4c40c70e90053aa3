// The socket side of the gRPC server.
#include "test_grpc_wire.h"

TestSuite(grpc_server, .timeout = 60);

static void on_drained(void *arg)
{
    struct wire *w = arg;
    w->drained++;
    w->server = grpc_server_free(w->server);
}

Test(grpc_server, serves_several_connections)
{
    struct wire w;
    wire_start(&w);
    int a = wire_client(&w), b = wire_client(&w);
    for (uint32_t i = 0; i < 100; i++) {
        cr_expect(wire_call(&w, a, 2 * i + 1, "from a"));
        cr_expect(wire_call(&w, b, 2 * i + 1, "from b"));
    }
    close(a);
    close(b);
    wire_stop(&w);
}

Test(grpc_server, closed_connection_cancels)
{
    struct wire w;
    struct buf out, in;
    wire_start(&w);
    int fd = wire_client(&w);
    buf_init(&out, 65536);
    buf_init(&in, 65536);
    wire_request(&out, 1, "/t.T/Wait", "");
    wire_request(&out, 3, "/t.T/Slow", "");
    cr_assert(wire_send_all(&w, fd, &out, &in));
    cr_assert_eq(w.runs, 2);
    close(fd);
    wire_turn(&w);
    cr_expect_eq(w.cancels, 1);
    // The other one runs to its end; nobody is there for the answer.
    rpc_call_reply(w.parked[0], NULL, 0);
    wire_turn(&w);
    cr_expect(wire_serves(&w));
    buf_free(&out);
    buf_free(&in);
    wire_stop(&w);
}

Test(grpc_server, answers_from_outside_of_a_request_are_sent)
{
    struct wire w;
    struct buf out, in;
    wire_start(&w);
    int fd = wire_client(&w);
    buf_init(&out, 65536);
    buf_init(&in, 65536);
    wire_request(&out, 1, "/t.T/Slow", "");
    cr_assert(wire_send_all(&w, fd, &out, &in));
    buf_clear(&in);
    rpc_call_reply(w.parked[0], (const uint8_t *)"late", 4);
    wire_turn(&w);
    cr_expect(wire_receive(fd, &in));
    cr_expect_eq(wire_count(&in, FRAME_HEADERS, NULL), 2);
    cr_expect_eq(wire_count(&in, FRAME_DATA, NULL), 1);
    close(fd);
    buf_free(&out);
    buf_free(&in);
    wire_stop(&w);
}

Test(grpc_server, more_than_a_turn_of_output_is_sent_whole)
{
    struct wire w;
    struct buf out, in;
    wire_start(&w);
    int fd = wire_client(&w);
    buf_init(&out, 65536);
    buf_init(&in, 1 << 24);
    wire_frame(&out, FRAME_SETTINGS, 0, 0, "\0\4\x7f\xff\xff\xff", 6);
    wire_frame(&out, FRAME_WINDOW, 0, 0, "\x7f\xff\x00\x00", 4);
    for (uint32_t i = 0; i < 40; i++)
        wire_request(&out, 2 * i + 1, "/t.T/Large", "");
    cr_assert(wire_send_all(&w, fd, &out, &in));
    for (int i = 0; i < 200; i++) {
        wire_turn(&w);
        cr_assert(wire_receive(fd, &in));
    }
    cr_expect_eq(wire_count(&in, FRAME_HEADERS, NULL), 80);
    close(fd);
    buf_free(&out);
    buf_free(&in);
    wire_stop(&w);
}

Test(grpc_server, free_cancels_and_lets_methods_end_later)
{
    struct wire w;
    struct buf out, in;
    wire_start(&w);
    int fd = wire_client(&w);
    buf_init(&out, 65536);
    buf_init(&in, 65536);
    wire_request(&out, 1, "/t.T/Wait", "");
    wire_request(&out, 3, "/t.T/Slow", "");
    cr_assert(wire_send_all(&w, fd, &out, &in));
    w.server = grpc_server_free(w.server);
    cr_expect_eq(w.cancels, 1);
    rpc_call_reply(w.parked[0], NULL, 0);
    cr_expect_not(wire_receive(fd, &in));
    close(fd);
    buf_free(&out);
    buf_free(&in);
    wire_stop(&w);
}

// ---- drain -----------------------------------------------------------------------------------

Test(grpc_server, drain_without_connections_ends_from_the_loop)
{
    struct wire w;
    wire_start(&w);
    grpc_server_drain(w.server, on_drained, &w);
    cr_expect_eq(w.drained, 0);
    wire_turn(&w);
    cr_expect_eq(w.drained, 1);
    wire_stop(&w);
}

Test(grpc_server, drain_waits_for_open_calls_and_their_answers)
{
    struct wire w;
    struct buf out, in;
    wire_start(&w);
    int fd = wire_client(&w);
    buf_init(&out, 65536);
    buf_init(&in, 65536);
    wire_request(&out, 1, "/t.T/Slow", "");
    cr_assert(wire_send_all(&w, fd, &out, &in));
    grpc_server_drain(w.server, on_drained, &w);
    // The client does not answer the PING: the final GOAWAY comes after a second.
    wire_run(&w, 1.3);
    cr_expect(wire_receive(fd, &in));
    cr_expect_eq(wire_count(&in, FRAME_GOAWAY, NULL), 2);
    cr_expect_eq(w.drained, 0);
    rpc_call_reply(w.parked[0], (const uint8_t *)"last", 4);
    wire_turn(&w);
    cr_expect_eq(w.drained, 1);
    cr_expect_not(wire_receive(fd, &in));
    cr_expect_eq(wire_count(&in, FRAME_HEADERS, NULL), 2);
    cr_expect_eq(wire_count(&in, FRAME_DATA, NULL), 1);
    close(fd);
    buf_free(&out);
    buf_free(&in);
    wire_stop(&w);
}

Test(grpc_server, drain_waits_for_methods_whose_client_is_gone)
{
    struct wire w;
    struct buf out, in;
    wire_start(&w);
    int fd = wire_client(&w);
    buf_init(&out, 65536);
    buf_init(&in, 65536);
    wire_request(&out, 1, "/t.T/Slow", "");
    cr_assert(wire_send_all(&w, fd, &out, &in));
    close(fd);
    wire_turn(&w);
    grpc_server_drain(w.server, on_drained, &w);
    wire_turn(&w);
    cr_expect_eq(w.drained, 0);
    rpc_call_reply(w.parked[0], NULL, 0);
    wire_turn(&w);
    cr_expect_eq(w.drained, 1);
    buf_free(&out);
    buf_free(&in);
    wire_stop(&w);
}

Test(grpc_server, drain_gives_up_on_a_peer_that_does_not_read)
{
    struct wire w;
    struct buf out;
    wire_start(&w);
    int fd = wire_client(&w);
    buf_init(&out, 65536);
    wire_frame(&out, FRAME_SETTINGS, 0, 0, "\0\4\x7f\xff\xff\xff", 6);
    wire_frame(&out, FRAME_WINDOW, 0, 0, "\x7f\xff\x00\x00", 4);
    for (uint32_t i = 0; i < 40; i++)
        wire_request(&out, 2 * i + 1, "/t.T/Large", "");
    cr_assert_eq(wire_send(fd, out.data, out.len), (ssize_t)out.len);
    wire_turn(&w);
    grpc_server_drain(w.server, on_drained, &w);
    wire_run(&w, 2.);
    cr_expect_eq(w.drained, 0);
    wire_run(&w, 4.);
    cr_expect_eq(w.drained, 1);
    close(fd);
    buf_free(&out);
    wire_stop(&w);
}

Test(grpc_server, drain_refuses_new_connections)
{
    struct wire w;
    struct buf out, in;
    struct error err;
    wire_start(&w);
    int fd = wire_client(&w);
    buf_init(&out, 65536);
    buf_init(&in, 65536);
    wire_request(&out, 1, "/t.T/Wait", "");
    cr_assert(wire_send_all(&w, fd, &out, &in));
    grpc_server_drain(w.server, on_drained, &w);
    cr_expect_eq(rpc_connect_unix(w.path, &err), -1);
    cr_expect_eq(err.status, STATUS_UNAVAILABLE);
    close(fd);
    wire_turn(&w);
    cr_expect_eq(w.drained, 1);
    buf_free(&out);
    buf_free(&in);
    wire_stop(&w);
}
