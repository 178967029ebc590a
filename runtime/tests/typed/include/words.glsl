layout(buffer_reference, scalar, buffer_reference_align = 4) buffer Words { uint word[]; };

struct Range {
    int start;
    uint end;
};
