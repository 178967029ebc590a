#version 460

// Does nothing: what is left is the cost of a launch.
layout(local_size_x = 8) in;

void main() {}
