#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
// Loops that run less often for an invocation than a driver counts which runs invocations in
// lockstep. Behind each stands an access whose index depends on how often the loop ran.
layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint KIND = 0u;
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Words { uint at[]; };
layout(push_constant) uniform Push {
    uvec2 words;
    uint n;
    uint never;
    uint m;
} push;
void main() {
    if (gl_WorkGroupID.x != 0u) return;
    uint i = 0u;
    uint sum = 0u;
    if (KIND == 0u) {
        // A loop in it that no invocation enters.
        for (; i < push.n; i++) {
            if (push.never != 0u) {
                for (uint j = 0u; j < push.m; j++) sum += j;
            }
        }
    } else if (KIND == 1u) {
        // A loop in it that only invocations would run which are not there.
        for (; i < push.n; i++) {
            for (uint j = 0u; j < gl_LocalInvocationID.x * push.m; j++) sum += j;
        }
    } else {
        // A selection in it that a driver may take for a loop.
        for (; i < push.n; i++) {
            switch (i & 3u) {
            case 0u: if (sum > push.m) break; sum += 1u; if (sum > 7u) break; sum += 2u; break;
            case 1u: if (sum > push.m) break; sum += 3u; if (sum > 9u) break; sum += 5u; break;
            default: if (sum > 3u) break; sum += 4u; if (sum > 11u) break; sum += 6u; break;
            }
        }
    }
    Words(push.words).at[i - push.n] = i + min(sum, 0u);
}
