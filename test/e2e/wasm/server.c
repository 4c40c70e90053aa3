// A web server by the sockets that WasmEdge adds to WASI preview 1
// (wasi_snapshot_preview1.sock_open and so on; WasmEdge 0.17, lib/host/wasi/wasimodule.cpp):
//
//     serve PORT            answers every request with its first line and a greeting
//     open FAMILY TYPE      the error number of sock_open
//     fetch PORT            prints what a server on 127.0.0.1 answers
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IMPORT(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(name)))

enum { INET4 = 1 };
enum { STREAM = 2 };

struct address {
    const uint8_t *bytes;
    uint32_t len;
};
struct part {
    char *data;
    uint32_t len;
};

IMPORT("sock_open") uint32_t sock_open(uint32_t family, uint32_t type, int *fd);
IMPORT("sock_bind") uint32_t sock_bind(int fd, const struct address *to, uint32_t port);
IMPORT("sock_listen") uint32_t sock_listen(int fd, int backlog);
IMPORT("sock_accept") uint32_t sock_accept(int fd, int *ret_fd);
IMPORT("sock_connect") uint32_t sock_connect(int fd, const struct address *to, uint32_t port);
IMPORT("sock_recv")
uint32_t sock_recv(int fd, struct part *into, uint32_t n, uint32_t flags, uint32_t *len,
                   uint32_t *ret_flags);
IMPORT("sock_send")
uint32_t sock_send(int fd, const struct part *from, uint32_t n, uint32_t flags, uint32_t *len);
IMPORT("fd_close") uint32_t fd_close(int fd);

static void must(uint32_t error, const char *what)
{
    if (error != 0) {
        fprintf(stderr, "%s: WASI errno %u\n", what, error);
        exit(1);
    }
}

static uint32_t receive(int fd, char *text, uint32_t size)
{
    uint32_t len = 0, flags = 0;
    struct part part = {text, size - 1};
    must(sock_recv(fd, &part, 1, 0, &len, &flags), "sock_recv");
    text[len] = 0;
    return len;
}

static void send_text(int fd, char *text)
{
    for (uint32_t at = 0, len = (uint32_t)strlen(text), n; at < len; at += n) {
        struct part part = {text + at, len - at};
        must(sock_send(fd, &part, 1, 0, &n), "sock_send");
    }
}

static int serve(uint32_t port)
{
    static const uint8_t any[4];
    const struct address address = {any, sizeof any};
    int listener;
    must(sock_open(INET4, STREAM, &listener), "sock_open");
    must(sock_bind(listener, &address, port), "sock_bind");
    must(sock_listen(listener, 16), "sock_listen");
    printf("listening on port %u\n", port);
    fflush(stdout);
    for (;;) {
        char request[4096], answer[4400], body[4200];
        int fd;
        must(sock_accept(listener, &fd), "sock_accept");
        receive(fd, request, sizeof request);
        request[strcspn(request, "\r\n")] = 0;
        snprintf(body, sizeof body, "hello from a module (%s)\n", request);
        snprintf(answer, sizeof answer,
                 "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
                 strlen(body), body);
        send_text(fd, answer);
        fd_close(fd);
    }
}

static int fetch(uint32_t port)
{
    static const uint8_t loopback[4] = {127, 0, 0, 1};
    const struct address address = {loopback, sizeof loopback};
    char text[4096];
    int fd;
    must(sock_open(INET4, STREAM, &fd), "sock_open");
    must(sock_connect(fd, &address, port), "sock_connect");
    strcpy(text, "GET / HTTP/1.0\r\n\r\n");
    send_text(fd, text);
    while (receive(fd, text, sizeof text) > 0)
        fputs(text, stdout);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "serve") == 0)
        return serve((uint32_t)atoi(argv[2]));
    if (argc == 3 && strcmp(argv[1], "fetch") == 0)
        return fetch((uint32_t)atoi(argv[2]));
    if (argc == 4 && strcmp(argv[1], "open") == 0) {
        int fd;
        printf("%u\n", sock_open((uint32_t)atoi(argv[2]), (uint32_t)atoi(argv[3]), &fd));
        return 0;
    }
    return 2;
}
