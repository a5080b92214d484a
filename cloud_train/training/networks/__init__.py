"""The networks that can be trained, a module for each family; all quantize well: ReLU6, one softmax."""
