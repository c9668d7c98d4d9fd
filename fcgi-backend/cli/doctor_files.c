/* hoody-ai doctor: files with keys and passwords.  What is in a file is never
 * said. */

#include "doctor.h"
#include "key_file.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void check_secret(const char *path, struct hai_finding *f) {
    struct hai_key_file key;

    hai_key_file_read(path, &key);
    if (!key.fine) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL, key.mend, "%s %s", path, key.text);
    }
}

void hai_doctor_secrets(const struct hai_doctor *d, struct hai_finding *f) {
    const struct hai_nginx_node *node = d->tree;
    char path[PATH_MAX];
    size_t n = 0;

    if (node == NULL) {
        hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL, "no configuration: %s",
                       d->conf_error);
        return;
    }
    while ((node = hai_nginx_next(node)) != NULL) {
        if (!hai_nginx_is(node, "hoody_ai_secret") || node->n < 3) {
            continue;
        }
        if (hai_doctor_path(d->conf_dir, node->word[2], path, sizeof(path))
            == 0) {
            check_secret(path, f);
        }
        n++;
    }
    if (n == 0) {
        hai_doctor_say(f, HAI_DOCTOR_WARN, "Add hoody_ai_secret.",
                       "there are no keys of providers");
    } else {
        hai_doctor_say(f, HAI_DOCTOR_OK, NULL, "%zu files with keys", n);
    }
}

void hai_doctor_passwords(const struct hai_doctor *d, struct hai_finding *f) {
    const char *file = d->registry.conf.password_file;
    struct stat st;

    if (file == NULL) {
        hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL,
                       "hoody_ai_redis names no password_file");
    } else if (stat(file, &st) != 0) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL, "Put the password of Redis there.",
                       "%s: %s", file, strerror(errno));
    } else if ((st.st_mode & 077) != 0
               || (st.st_uid != 0 && st.st_uid != geteuid()))
    {
        hai_doctor_say(f, HAI_DOCTOR_FAIL, "chown root it, and chmod 0600 it.",
                       "%s: mode %04o, owner %u", file,
                       (unsigned) st.st_mode & 07777, (unsigned) st.st_uid);
    } else {
        hai_doctor_say(f, HAI_DOCTOR_OK, NULL, "%s", file);
    }
}
