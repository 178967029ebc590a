#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require

// Works until a word is not 0, and ends by itself after so many turns. A turn is long, so that a kernel
// with fewer turns than the 65,535 after which some drivers cut a loop runs long enough to be seen.
layout(local_size_x = 1) in;
layout(buffer_reference, std430, buffer_reference_align = 4) buffer U32 { uint at[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) volatile buffer Watched { uint word; };

layout(push_constant) uniform Push {
    uvec2 stop;
    uvec2 result; // whether the word was seen, the turns, a number that keeps the work alive, and the
                  // workgroups that made all turns
    uint turns;
} push;

#define WORK mix = (mix * 1664525u + 1013904223u) ^ (mix >> 13);
#define TIMES4(what) what what what what
#define TIMES64(what) TIMES4(TIMES4(TIMES4(what)))

void main() {
    uint mix = 1u;
    uint turn = 0u;
    uint seen = 0u;
    while (turn < push.turns) {
        if (Watched(push.stop).word != 0u) {
            seen = 1u;
            break;
        }
        TIMES64(TIMES4(WORK))
        turn += 1u;
    }
    U32(push.result).at[0] = seen;
    U32(push.result).at[1] = turn;
    U32(push.result).at[2] = mix;
    if (turn == push.turns) atomicAdd(U32(push.result).at[3], 1u);
}
