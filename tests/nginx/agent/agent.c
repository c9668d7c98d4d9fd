/*
 * What runs in the containers of tests (HoodyAI::Podman): one static program,
 * which is all that their image holds.  Each command prints one word: a
 * status, or what happened.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BODY                                                                   \
    "{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":"      \
    "\"Hello\"}]}"

static void die(const char *what) {
    printf("%s: %s\n", what, strerror(errno));
    exit(1);
}

static int request(char *text, size_t size, const char *token) {
    return snprintf(text, size,
                    "POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\n"
                    "Authorization: Bearer container-%s\r\n"
                    "Content-Type: application/json\r\n"
                    "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
                    token, strlen(BODY), BODY);
}

/* Asks over a connected socket; 0 where nothing comes. */
static int ask(int fd, const char *token) {
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    char text[4096];
    int n = request(text, sizeof(text), token), status = 0;

    if (write(fd, text, (size_t) n) != n || poll(&wait, 1, 5000) != 1) {
        return 0;
    }
    n = (int) read(fd, text, sizeof(text) - 1);
    text[n > 0 ? n : 0] = '\0';
    sscanf(text, "HTTP/1.1 %d", &status);
    return status;
}

static int connect_unix(const char *path) {
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
    if (fd < 0 || connect(fd, (struct sockaddr *) &un, sizeof(un)) != 0) {
        die(path);
    }
    return fd;
}

static int connect_tcp(const char *address, const char *port) {
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t) atoi(port))};
    struct timeval limit = {.tv_sec = 2};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    inet_pton(AF_INET, address, &in.sin_addr);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    if (connect(fd, (struct sockaddr *) &in, sizeof(in)) != 0) {
        die(address);
    }
    return fd;
}

/* Makes a cgroup of this name below its own one, and moves into it. */
static void fake_cgroup(const char *name) {
    char path[512];
    FILE *out;

    mkdir("/tmp", 0755);
    if (mount("none", "/tmp", "cgroup2", 0, NULL) != 0 && errno != EBUSY) {
        die("mount");
    }
    snprintf(path, sizeof(path), "/tmp/%s", name);
    if (mkdir(path, 0755) != 0 && errno != EEXIST) {
        die(path);
    }
    snprintf(path, sizeof(path), "/tmp/%s/cgroup.procs", name);
    out = fopen(path, "w");
    if (out == NULL || fputs("0", out) < 0 || fclose(out) != 0) {
        die(path);
    }
}

/* Hands a socket on through a listener at this path, and stays. */
static void give(const char *gateway, const char *path) {
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct iovec one = {.iov_base = "x", .iov_len = 1};
    struct msghdr message = {.msg_iov = &one,
                             .msg_iovlen = 1,
                             .msg_control = control.space,
                             .msg_controllen = sizeof(control.space)};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    int fd = connect_unix(gateway), listener, to;

    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
    unlink(path);
    if (bind(listener, (struct sockaddr *) &un, sizeof(un)) != 0
        || listen(listener, 1) != 0 || (to = accept(listener, NULL, NULL)) < 0)
    {
        die(path);
    }
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(head), &fd, sizeof(fd));
    if (sendmsg(to, &message, 0) != 1) {
        die("sendmsg");
    }
    /* until the other one is done with it */
    while (read(to, control.space, 1) > 0) {
    }
}

static int take(const char *path) {
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    char byte;
    struct iovec one = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &one,
                             .msg_iovlen = 1,
                             .msg_control = control.space,
                             .msg_controllen = sizeof(control.space)};
    int fd = -1;

    if (recvmsg(connect_unix(path), &message, 0) != 1
        || CMSG_FIRSTHDR(&message) == NULL)
    {
        die("recvmsg");
    }
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
    return fd;
}

/* Processes that come and go, until the time is over. */
static void spin(int seconds) {
    pid_t pid;

    alarm((unsigned) seconds);
    signal(SIGALRM, _exit);
    for (;;) {
        pid = fork();
        if (pid == 0) {
            usleep(1000);
            _exit(0);
        }
        if (pid > 0) {
            printf("%d\n", (int) pid);
            waitpid(pid, NULL, 0);
        }
    }
}

/* Clients that connect, ask and are gone; the socket is ours.  Prints pid and
 * status of each. */
static void bomb(const char *path, const char *token, int seconds) {
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    time_t end = time(NULL) + seconds;
    char text[4096];
    int i, n = request(text, sizeof(text), token);

    snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
    while (time(NULL) < end) {
        int fd[8];
        pid_t pid[8];

        for (i = 0; i < 8; i++) {
            fd[i] = socket(AF_UNIX, SOCK_STREAM, 0);
            pid[i] = fork();
            if (pid[i] == 0) {
                if (connect(fd[i], (struct sockaddr *) &un, sizeof(un)) != 0
                    || write(fd[i], text, (size_t) n) != n)
                {
                    _exit(1);
                }
                _exit(0);
            }
        }
        for (i = 0; i < 8; i++) {
            struct pollfd wait = {.fd = fd[i], .events = POLLIN};
            char answer[4096] = "";
            int status = 0, ended = 1;

            if (pid[i] > 0 && waitpid(pid[i], &ended, 0) == pid[i] && ended == 0
                && poll(&wait, 1, 5000) == 1
                && read(fd[i], answer, sizeof(answer) - 1) > 0)
            {
                sscanf(answer, "HTTP/1.1 %d", &status);
            }
            if (ended == 0) {
                printf("%d %d\n", (int) pid[i], status);
            }
            close(fd[i]);
        }
    }
}

static uint32_t add(uint32_t sum, const void *data, size_t len) {
    const uint8_t *p = data;
    size_t i;

    for (i = 0; i < len; i++) {
        sum += i % 2 == 0 ? (uint32_t) p[i] << 8 : p[i];
    }
    return sum;
}

static uint16_t finish(uint32_t sum) {
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return htons((uint16_t) ~sum);
}

/* IPv4 without options; the payload follows. */
struct ip4 {
    uint8_t version, tos;
    uint16_t length, id, offset;
    uint8_t ttl, protocol;
    uint16_t sum;
    uint32_t from, to;
};

static struct ip4 ip4(uint32_t from, uint32_t to, uint8_t protocol,
                      size_t length) {
    struct ip4 ip = {.version = 0x45,
                     .length = htons((uint16_t) (sizeof(ip) + length)),
                     .ttl = 64,
                     .protocol = protocol,
                     .from = from,
                     .to = to};

    ip.sum = finish(add(0, &ip, sizeof(ip)));
    return ip;
}

/* A datagram that says it is from there; a raw socket is enough. */
static void spoof(const char *from, const char *to, const char *port) {
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct {
        struct ip4 ip;
        uint16_t from, to, length, sum;
        char text[8];
    } packet = {.text = "spoofed"};
    uint32_t source;
    int fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);

    if (fd < 0) {
        die("raw socket");
    }
    inet_pton(AF_INET, from, &source);
    inet_pton(AF_INET, to, &in.sin_addr);
    packet.ip = ip4(source, in.sin_addr.s_addr, 17, 15);
    packet.from = htons(40000);
    packet.to = htons((uint16_t) atoi(port));
    packet.length = htons(15);
    if (sendto(fd, &packet, sizeof(packet.ip) + 15, 0, (struct sockaddr *) &in,
               sizeof(in))
        < 0)
    {
        die("sendto");
    }
}

/* A TCP connection made by hand, from an address that is not ours. */
struct tap {
    int fd, index;
    uint8_t mac[6], gateway[6];
    uint32_t from, to;
    uint16_t port, from_port;
};

static void put_frame(const struct tap *tap, const uint8_t *to, uint16_t type,
                      const void *data, size_t len) {
    struct sockaddr_ll ll = {
        .sll_family = AF_PACKET, .sll_ifindex = tap->index, .sll_halen = 6};
    uint8_t frame[2048];

    memcpy(frame, to, 6);
    memcpy(frame + 6, tap->mac, 6);
    type = htons(type);
    memcpy(frame + 12, &type, 2);
    memcpy(frame + 14, data, len);
    if (sendto(tap->fd, frame, 14 + len, 0, (struct sockaddr *) &ll, sizeof(ll))
        < 0)
    {
        die("packet");
    }
}

/* Everybody is told that the address is here. */
static void announce(const struct tap *tap) {
    static const uint8_t all[6] = {255, 255, 255, 255, 255, 255};
    uint8_t arp[28] = {0, 1, 8, 0, 6, 4, 0, 1};

    memcpy(arp + 8, tap->mac, 6);
    memcpy(arp + 14, &tap->from, 4);
    memcpy(arp + 24, &tap->from, 4);
    put_frame(tap, all, 0x0806, arp, sizeof(arp));
}

struct tcp {
    uint16_t from, to;
    uint32_t seq, ack;
    uint8_t offset, flags;
    uint16_t window, sum, urgent;
};

static void put_tcp(const struct tap *tap, uint8_t flags, uint32_t seq,
                    uint32_t ack, const char *data, size_t len) {
    struct {
        struct ip4 ip;
        struct tcp tcp;
        char data[1400];
    } packet = {.ip = ip4(tap->from, tap->to, 6, sizeof(struct tcp) + len),
                .tcp = {.from = htons(tap->from_port),
                        .to = htons(tap->port),
                        .seq = htonl(seq),
                        .ack = htonl(ack),
                        .offset = 0x50,
                        .flags = flags,
                        .window = htons(60000)}};
    uint32_t sum = 6 + (uint32_t) (sizeof(struct tcp) + len);

    memcpy(packet.data, data, len);
    sum = add(sum, &packet.ip.from, 8);
    packet.tcp.sum = finish(add(sum, &packet.tcp, sizeof(packet.tcp) + len));
    put_frame(tap, tap->gateway, 0x0800, &packet,
              sizeof(packet.ip) + sizeof(packet.tcp) + len);
}

/* The next segment from the gateway to the address that is not ours. */
static int get_tcp(const struct tap *tap, struct tcp *tcp, char *data,
                   size_t size, size_t *len) {
    static uint8_t frame[70000];
    time_t end = time(NULL) + 3;

    while (time(NULL) < end) {
        struct pollfd wait = {.fd = tap->fd, .events = POLLIN};
        struct ip4 ip;
        ssize_t n;
        size_t at;

        if (poll(&wait, 1, 1000) != 1) {
            return -1;
        }
        n = recv(tap->fd, frame, sizeof(frame), 0);
        if (n < 54 || frame[12] != 8 || frame[13] != 0) {
            continue;
        }
        memcpy(&ip, frame + 14, sizeof(ip));
        memcpy(tcp, frame + 34, sizeof(*tcp));
        if (ip.protocol != 6 || ip.from != tap->to || ip.to != tap->from
            || tcp->to != htons(tap->from_port))
        {
            continue;
        }
        at = 34 + (size_t) (tcp->offset >> 4) * 4;
        *len = 14u + ntohs(ip.length) - at;
        if (at + *len > (size_t) n || *len >= size) {
            continue;
        }
        memcpy(data, frame + at, *len);
        data[*len] = '\0';
        return 0;
    }
    return -1;
}

/* The status that the gateway gives to the victim's token. */
static int steal(const char *victim, const char *gateway, const char *mac,
                 const char *port, const char *token) {
    struct tap tap = {.from_port = (uint16_t) (20000 + getpid() % 20000)};
    struct ifreq ifr = {.ifr_name = "eth0"};
    struct tcp tcp;
    char text[8192];
    size_t len;
    int status = 0, i;

    tap.fd = socket(AF_PACKET, SOCK_RAW, htons(3));
    if (tap.fd < 0 || ioctl(tap.fd, SIOCGIFHWADDR, &ifr) != 0) {
        die("packet socket");
    }
    memcpy(tap.mac, ifr.ifr_hwaddr.sa_data, 6);
    tap.index = (int) if_nametoindex("eth0");
    for (i = 0; i < 6; i++) {
        tap.gateway[i] = (uint8_t) strtol(mac + 3 * i, NULL, 16);
    }
    inet_pton(AF_INET, victim, &tap.from);
    inet_pton(AF_INET, gateway, &tap.to);
    tap.port = (uint16_t) atoi(port);

    announce(&tap);
    put_tcp(&tap, 2, 1000, 0, "", 0);
    if (get_tcp(&tap, &tcp, text, sizeof(text), &len) != 0
        || (tcp.flags & 0x12) != 0x12)
    {
        return 0;
    }
    i = request(text, sizeof(text), token);
    put_tcp(&tap, 0x18, 1001, ntohl(tcp.seq) + 1, text, (size_t) i);
    do {
        if (get_tcp(&tap, &tcp, text, sizeof(text), &len) != 0) {
            return 0;
        }
    } while (len == 0);
    sscanf(text, "HTTP/1.1 %d", &status);
    put_tcp(&tap, 4, ntohl(tcp.ack), 0, "", 0);
    return status;
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";

    setvbuf(stdout, NULL, _IONBF, 0);
    signal(SIGPIPE, SIG_IGN);
    if (strcmp(what, "sleep") == 0) {
        signal(SIGTERM, _exit);
        for (;;) {
            pause();
        }
    } else if (strcmp(what, "unix") == 0 && argc == 4) {
        printf("%d\n", ask(connect_unix(argv[2]), argv[3]));
    } else if (strcmp(what, "tcp") == 0 && argc == 5) {
        printf("%d\n", ask(connect_tcp(argv[2], argv[3]), argv[4]));
    } else if (strcmp(what, "fake") == 0 && argc == 5) {
        fake_cgroup(argv[2]);
        printf("%d\n", ask(connect_unix(argv[3]), argv[4]));
    } else if (strcmp(what, "give") == 0 && argc == 4) {
        give(argv[2], argv[3]);
    } else if (strcmp(what, "take") == 0 && argc == 4) {
        printf("%d\n", ask(take(argv[2]), argv[3]));
    } else if (strcmp(what, "spin") == 0 && argc == 3) {
        spin(atoi(argv[2]));
    } else if (strcmp(what, "bomb") == 0 && argc == 5) {
        bomb(argv[2], argv[3], atoi(argv[4]));
    } else if (strcmp(what, "spoof") == 0 && argc == 5) {
        spoof(argv[2], argv[3], argv[4]);
        printf("sent\n");
    } else if (strcmp(what, "steal") == 0 && argc == 7) {
        printf("%d\n", steal(argv[2], argv[3], argv[4], argv[5], argv[6]));
    } else {
        printf("usage\n");
        return 2;
    }
    return 0;
}
