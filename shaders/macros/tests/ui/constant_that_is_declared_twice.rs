//! One constant with two values: a field cannot have both.

farptr::kernel! {
    mod kernel,
    source: r#"
        #version 460
        layout(local_size_x_id = 0) in;
        layout(constant_id = 0) const uint WIDTH = 64;
        void main() {}
    "#,
}

fn main() {}
