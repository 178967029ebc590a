/* Is there a Vulkan loader, a device behind it, and the layer named by the first argument?
 *
 * ./farptr builds and runs this before anything else is built. It asks the loader instead of
 * looking for files: a driver's manifest says nothing about whether the driver finds a device. It
 * needs no Vulkan headers, so the few declarations that it uses are written out below.
 *
 * Exit status: 0 all found, 3 no loader, 4 no device, 5 no such layer.
 */
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>

enum { FOUND = 0, NO_LOADER = 3, NO_DEVICE = 4, NO_LAYER = 5 };
enum { VK_SUCCESS = 0, VK_ERROR_LAYER_NOT_PRESENT = -6 };
enum { VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO = 1 };

typedef void *VkInstance;

typedef struct {
    int32_t sType;
    const void *pNext;
    uint32_t flags;
    const void *pApplicationInfo;
    uint32_t enabledLayerCount;
    const char *const *ppEnabledLayerNames;
    uint32_t enabledExtensionCount;
    const char *const *ppEnabledExtensionNames;
} VkInstanceCreateInfo;

typedef int32_t (*CreateInstance)(const VkInstanceCreateInfo *, const void *, VkInstance *);
typedef int32_t (*EnumeratePhysicalDevices)(VkInstance, uint32_t *, void *);

int main(int argc, char **argv)
{
    void *loader = dlopen("libvulkan.so.1", RTLD_NOW);
    if (!loader)
        return NO_LOADER;
    CreateInstance create = (CreateInstance)dlsym(loader, "vkCreateInstance");
    EnumeratePhysicalDevices enumerate =
        (EnumeratePhysicalDevices)dlsym(loader, "vkEnumeratePhysicalDevices");
    if (!create || !enumerate)
        return NO_LOADER;

    const char *layer = argc > 1 ? argv[1] : NULL;
    VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO};
    info.enabledLayerCount = layer ? 1 : 0;
    info.ppEnabledLayerNames = layer ? &layer : NULL;

    VkInstance instance = NULL;
    int32_t result = create(&info, NULL, &instance);
    if (result == VK_ERROR_LAYER_NOT_PRESENT)
        return NO_LAYER;
    if (result != VK_SUCCESS)
        return NO_DEVICE;
    uint32_t devices = 0;
    if (enumerate(instance, &devices, NULL) != VK_SUCCESS || devices == 0)
        return NO_DEVICE;
    return FOUND;
}
