/* Does a shaderc library link, load, and compile a kernel such as farptr's?
 *
 * vulkano-shaders is a procedural macro: a shared object that rustc loads while it compiles, with
 * shaderc inside. A library that lacks symbols passes the linker there and fails only when rustc
 * loads the macro, with a message about a missing crate. So ./farptr builds this file twice: with
 * -shared against the library in question, and with -DLOADER as the program that loads the result.
 *
 * Exit status of the program: 0 when the kernel compiled.
 */
#ifdef LOADER

#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    void *object = argc == 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
    int (*compiles)(void) = object ? (int (*)(void))dlsym(object, "farptr_compiles") : NULL;
    if (!compiles) {
        fprintf(stderr, "%s\n", argc == 2 ? dlerror() : "usage: probe-shaderc OBJECT");
        return 2;
    }
    return compiles() ? 0 : 1;
}

#else

#include <stddef.h>

enum { COMPUTE_SHADER = 2, TARGET_VULKAN = 0, STATUS_SUCCESS = 0 };
enum { VULKAN_1_2 = (1 << 22) | (2 << 12), SPIRV_1_5 = 0x010500 };

void *shaderc_compiler_initialize(void);
void *shaderc_compile_options_initialize(void);
void shaderc_compile_options_set_target_env(void *, int, unsigned);
void shaderc_compile_options_set_target_spirv(void *, int);
void *shaderc_compile_into_spv(void *, const char *, size_t, int, const char *, const char *,
                               void *);
int shaderc_result_get_compilation_status(void *);
size_t shaderc_result_get_length(void *);

static const char kernel[] =
    "#version 460\n"
    "#extension GL_EXT_buffer_reference : require\n"
    "#extension GL_EXT_buffer_reference_uvec2 : require\n"
    "#extension GL_EXT_scalar_block_layout : require\n"
    "layout(local_size_x = 64) in;\n"
    "layout(buffer_reference, scalar) buffer U32 { uint at[]; };\n"
    "layout(push_constant, scalar) uniform Push { uvec2 address; } push;\n"
    "void main() { U32(push.address).at[gl_GlobalInvocationID.x] = 1; }\n";

int farptr_compiles(void);

int farptr_compiles(void)
{
    void *compiler = shaderc_compiler_initialize();
    void *options = shaderc_compile_options_initialize();
    if (!compiler || !options)
        return 0;
    shaderc_compile_options_set_target_env(options, TARGET_VULKAN, VULKAN_1_2);
    shaderc_compile_options_set_target_spirv(options, SPIRV_1_5);
    void *result = shaderc_compile_into_spv(compiler, kernel, sizeof kernel - 1, COMPUTE_SHADER,
                                            "probe.comp", "main", options);
    return result && shaderc_result_get_compilation_status(result) == STATUS_SUCCESS &&
           shaderc_result_get_length(result) > 0;
}

#endif
