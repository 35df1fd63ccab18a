// The lower bound of starting a sandbox: every namespace in one clone3, a read-only root, fresh /proc and /tmp,
// one pivot, no_new_privs, exec. Nothing else: no policy, no checks, no PID 1.
//   floor COMMAND [ARG]...
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(call)                                                                                                    \
    do {                                                                                                               \
        if ((long)(call) < 0) {                                                                                        \
            perror(#call);                                                                                             \
            _exit(125);                                                                                                \
        }                                                                                                              \
    } while (0)

static void put(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    CHECK(fd);
    CHECK(write(fd, text, strlen(text)));
    close(fd);
}

static void mount_fs(const char *type, const char *target, unsigned attr) {
    int fs = syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
    CHECK(fs);
    CHECK(syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, 0, 0, 0));
    int mnt = syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, attr);
    CHECK(mnt);
    CHECK(syscall(SYS_move_mount, mnt, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH));
    close(fs);
    close(mnt);
}

int main(int argc, char **argv) {
    if (argc < 2)
        return 125;
    char map[64];
    struct clone_args args = {.exit_signal = SIGCHLD,
                              .flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC |
                                       CLONE_NEWCGROUP | CLONE_NEWNET};
    uid_t uid = getuid();
    gid_t gid = getgid();
    long pid = syscall(SYS_clone3, &args, sizeof args);
    CHECK(pid);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        put("/proc/self/setgroups", "deny");
        snprintf(map, sizeof map, "%u %u 1", uid, uid);
        put("/proc/self/uid_map", map);
        snprintf(map, sizeof map, "%u %u 1", gid, gid);
        put("/proc/self/gid_map", map);
        struct ifreq req = {.ifr_name = "lo", .ifr_flags = IFF_UP};
        int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        CHECK(ioctl(sock, SIOCSIFFLAGS, &req));
        close(sock);
        int tree = syscall(SYS_open_tree, AT_FDCWD, "/", OPEN_TREE_CLONE | AT_RECURSIVE | OPEN_TREE_CLOEXEC);
        CHECK(tree);
        struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, .propagation = MS_PRIVATE};
        CHECK(syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof attr));
        CHECK(syscall(SYS_move_mount, tree, "", AT_FDCWD, "/tmp", MOVE_MOUNT_F_EMPTY_PATH));
        CHECK(chdir("/tmp"));
        mount_fs("proc", "proc", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
        mount_fs("tmpfs", "tmp", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
        CHECK(syscall(SYS_pivot_root, ".", "."));
        CHECK(umount2(".", MNT_DETACH));
        CHECK(chdir("/"));
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        execv(argv[1], argv + 1);
        _exit(127);
    }
    int status;
    CHECK(waitpid(pid, &status, 0));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
