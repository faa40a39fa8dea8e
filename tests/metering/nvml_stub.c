/* A small NVML for tests: two GPUs, whose answers are set by name. WITHOUT_... leaves a function out, as old drivers do.
   Built without a SONAME and loaded in processes of its own, so that nothing else takes it for the real library. */
#include <stddef.h>
#include <string.h>

typedef long long setting;

static struct { const char *name; setting value; } settings[] = {
    {"init", 0}, {"handle", 0},
    {"energy", 0}, {"energy_result", 0},
    {"power", 0}, {"power_result", 0}, {"instant_result", 0},
    {"mig", 0}, {"mig_result", 3}, {"slice", 0},
    {"processes", 0}, {"processes_result", 0}, {"own_pid", 0},
    {"utilization", 0}, {"sm_clock", 0}, {"temperature", 0}, {"reasons", 0},
};

static setting *find(const char *name) {
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        if (!strcmp(settings[i].name, name)) return &settings[i].value;
    return NULL;
}

static setting get(const char *name) { return *find(name); }

int stub_set(const char *name, setting value) {
    setting *found = find(name);
    if (!found) return 1;
    *found = value;
    return 0;
}

static int first_gpu, second_gpu, slice;

int nvmlInitWithFlags(unsigned flags) { return (int)get("init"); }
int nvmlInit_v2(void) { return (int)get("init"); }
int nvmlShutdown(void) { return 0; }

const char *nvmlErrorString(int result) {
    switch (result) {
    case 3: return "Not Supported";
    case 4: return "Insufficient Permissions";
    case 6: return "Not Found";
    case 9: return "Driver Not Loaded";
    case 15: return "GPU is lost";
    default: return "Unknown Error";
    }
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    if (get("handle")) return (int)get("handle");
    if (!strcmp(uuid, "GPU-first")) { *device = &first_gpu; return 0; }
    if (!strcmp(uuid, "GPU-second")) { *device = &second_gpu; return 0; }
    if (!strcmp(uuid, "MIG-second") && get("slice")) { *device = &slice; return 0; }
    return 6;
}

/* The settings are the second GPU's; the first one is idle, so that whoever asks the wrong one is found out. */
static setting of(void *device, const char *name) { return device == &second_gpu ? get(name) : 0; }

#ifndef WITHOUT_ENERGY
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *millijoules) {
    *millijoules = (unsigned long long)of(device, "energy");
    return (int)get("energy_result");
}
#endif

#ifndef WITHOUT_POWER
int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts) {
    *milliwatts = (unsigned)of(device, "power");
    return (int)get("power_result");
}
#endif

struct field { unsigned id, scope; long long moment, latency; int kind, result; union { double d; unsigned u; unsigned long long l; } value; };

#ifndef WITHOUT_FIELDS
int nvmlDeviceGetFieldValues(void *device, int count, struct field *fields) {
    for (int i = 0; i < count; i++) {
        fields[i].result = (int)get("instant_result");
        fields[i].value.u = (unsigned)of(device, "power");
    }
    return 0;
}
#endif

int nvmlDeviceGetMigMode(void *device, unsigned *current, unsigned *pending) {
    *current = *pending = (unsigned)of(device, "mig");
    return (int)get("mig_result");
}

struct process { unsigned pid; unsigned long long memory; unsigned gpu_instance, compute_instance; };

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, struct process *found) {
    if (get("processes_result")) return (int)get("processes_result");
    unsigned there = (unsigned)of(device, "processes");
    if (!there) { *count = 0; return 0; }
    if (*count < there) { *count = there; return 7; }
    *count = there;
    for (unsigned i = 0; i < there; i++) {
        memset(&found[i], 0, sizeof found[i]);
        found[i].pid = i == 0 && get("own_pid") ? (unsigned)get("own_pid") : 4000000u + i;
    }
    return 0;
}

int nvmlDeviceGetName(void *device, char *name, unsigned length) { strncpy(name, "Stub 100", length); return 0; }
int nvmlSystemGetDriverVersion(char *version, unsigned length) { strncpy(version, "999.1", length); return 0; }
int nvmlDeviceGetEnforcedPowerLimit(void *device, unsigned *milliwatts) { *milliwatts = 700000; return 0; }
int nvmlDeviceGetMaxClockInfo(void *device, int kind, unsigned *mhz) { *mhz = kind == 1 ? 1980 : 2619; return 0; }
int nvmlDeviceGetClockInfo(void *device, int kind, unsigned *mhz) { *mhz = (unsigned)of(device, "sm_clock"); return 0; }
int nvmlDeviceGetTemperature(void *device, int kind, unsigned *celsius) { *celsius = (unsigned)of(device, "temperature"); return 0; }

struct utilization { unsigned gpu, memory; };
int nvmlDeviceGetUtilizationRates(void *device, struct utilization *rates) {
    rates->gpu = (unsigned)of(device, "utilization");
    return 0;
}

#ifndef WITHOUT_EVENT_REASONS
int nvmlDeviceGetCurrentClocksEventReasons(void *device, unsigned long long *reasons) {
    *reasons = (unsigned long long)of(device, "reasons");
    return 0;
}
#endif
int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons) {
    *reasons = (unsigned long long)of(device, "reasons");
    return 0;
}
