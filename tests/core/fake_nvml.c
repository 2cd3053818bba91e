/* A libnvidia-ml.so.1 with the cards that $FAKE_NVML names: ok, hot, mute (knows its name and memory alone),
 * unset (says "not available" in the number), lost (fallen off the bus). "gone": there is no driver. Errors and
 * layouts as in NVIDIA's nvml.h. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, NOT_SUPPORTED = 3, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15 };

static char kinds[8][16];

static int cards(void) {
    char text[128] = "";
    int count = 0;
    strncpy(text, getenv("FAKE_NVML") ? getenv("FAKE_NVML") : "", sizeof text - 1);
    for (char *one = strtok(text, ","); one && count < 8; one = strtok(NULL, ","))
        snprintf(kinds[count++], sizeof kinds[0], "%s", one);
    return count;
}

static int is(const char *card, const char *kind) { return strcmp(card, kind) == 0; }

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    return cards() && is(kinds[0], "gone") ? DRIVER_NOT_LOADED : OK;
}
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { return code == GPU_IS_LOST ? "GPU is lost" : "fake"; }
int nvmlSystemGetDriverVersion(char *text, unsigned size) { snprintf(text, size, "580.00"); return OK; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = (unsigned)cards(); return OK; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **card) {
    *card = kinds[index];
    return is(kinds[index], "lost") ? GPU_IS_LOST : OK;
}
int nvmlDeviceGetName(void *card, char *text, unsigned size) {
    (void)card;
    snprintf(text, size, "Fake 9000");
    return OK;
}
int nvmlDeviceGetMemoryInfo(void *card, uint64_t *memory) {
    (void)card;
    memory[0] = 24ull << 30; /* total, free, used */
    memory[1] = 20ull << 30;
    memory[2] = 4ull << 30;
    return OK;
}
int nvmlDeviceGetUtilizationRates(void *card, unsigned *rates) {
    rates[0] = 73;
    rates[1] = 40;
    return is(card, "mute") ? NOT_SUPPORTED : OK;
}
int nvmlDeviceGetTemperature(void *card, unsigned sensor, unsigned *celsius) {
    (void)sensor;
    *celsius = is(card, "hot") ? 91 : 60;
    return is(card, "mute") ? NOT_SUPPORTED : OK;
}
int nvmlDeviceGetPowerUsage(void *card, unsigned *milliwatts) {
    *milliwatts = is(card, "unset") ? UINT32_MAX : 250500;
    return is(card, "mute") ? NOT_SUPPORTED : OK;
}
