// Prints the nanoseconds that one kind of system call takes, in the fastest of some rounds.
//   loop getppid|open|ioctl|fork ROUNDS [filtered]
// Filtered means by the shortest filter there is, which allows everything: what the kernel asks for any filter.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

// There on both sides, in a directory that sbx binds from the host: the same file system.
static const char *const FILE_TO_OPEN = "/usr/bin/env";

static int terminal;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void no_preparation(void) {
}

static void call_getppid(void) {
    syscall(SYS_getppid);
}

static void call_open(void) {
    int file = open(FILE_TO_OPEN, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        fail(FILE_TO_OPEN);
    close(file);
}

// A terminal of its own, so that both sides ask one of the same kind.
static void prepare_ioctl(void) {
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || unlockpt(master) != 0)
        fail("a terminal");
    terminal = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (terminal < 0)
        fail("its other side");
}

static void call_ioctl(void) {
    struct winsize size;
    if (ioctl(terminal, TIOCGWINSZ, &size) != 0)
        fail("ioctl");
}

static void call_fork(void) {
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    if (child < 0 || waitpid(child, NULL, 0) != child)
        fail("fork");
}

static const struct kind {
    const char *name;
    void (*prepare)(void);
    void (*call)(void);
    int calls; // of a round
} KINDS[] = {
    {"getppid", no_preparation, call_getppid, 200000},
    {"open", no_preparation, call_open, 50000},
    {"ioctl", prepare_ioctl, call_ioctl, 200000},
    {"fork", no_preparation, call_fork, 500},
};

static void filter(void) {
    struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {1, &allow};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        fail("a filter");
}

// A child that starts on another processor takes a third longer, and where it starts is chance.
static void stay_on_one_processor(void) {
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET(sched_getcpu(), &here);
    if (sched_setaffinity(0, sizeof here, &here) != 0)
        fail("one processor");
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

static double fastest(const struct kind *kind, int rounds) {
    double best = 1e18;
    kind->prepare();
    for (int round = 0; round < rounds; round++) {
        double start = now();
        for (int call = 0; call < kind->calls; call++)
            kind->call();
        double took = (now() - start) / kind->calls;
        if (took < best)
            best = took;
    }
    return best;
}

int main(int argc, char **argv) {
    int rounds = argc == 3 || argc == 4 ? atoi(argv[2]) : 0;
    stay_on_one_processor();
    if (argc == 4)
        filter();
    for (size_t number = 0; rounds > 0 && number < sizeof KINDS / sizeof *KINDS; number++) {
        if (strcmp(argv[1], KINDS[number].name) == 0) {
            printf("%.3f\n", fastest(&KINDS[number], rounds));
            return 0;
        }
    }
    fprintf(stderr, "usage: loop getppid|open|ioctl|fork ROUNDS [filtered]\n");
    return 2;
}
