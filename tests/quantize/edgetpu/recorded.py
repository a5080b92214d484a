"""What edgetpu_compiler prints, version by version, as people published it; model names shortened."""

CPU_PARAGRAPH = (
    "Model successfully compiled but not all operations are supported by the Edge TPU. "
    "A percentage of the model will instead run on the CPU, which is slower. "
    "If possible, consider updating your model to use only operations supported by the Edge TPU. "
    "For details, visit g.co/coral/model-reqs."
)
TABLE_HEAD = "Operator                       Count      Status"
TIMER_END = "Compilation child process completed within timeout period."
NOT_IN_INTERPRETER = (
    "Compilation failed: Model failed in Tflite interpreter. Please ensure model can be loaded/run in Tflite "
    "interpreter."
)

# 16.0 with -s; two statuses for one operator.
SUCCESS_16 = f"""Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 3173 ms.

Input model: model.tflite
Input size: 7.37MiB
Output model: model_edgetpu.tflite
Output size: 8.34MiB
On-chip memory used for caching model parameters: 6.08MiB
On-chip memory remaining for caching model parameters: 0.00B
Off-chip memory used for streaming uncached model parameters: 1.70MiB
Number of Edge TPU subgraphs: 1
Total number of operations: 23
Operation log: model_edgetpu.log

{CPU_PARAGRAPH}
Number of operations that will run on Edge TPU: 22
Number of operations that will run on CPU: 1

{TABLE_HEAD}

CONCATENATION                  17         Mapped to Edge TPU
CONCATENATION                  1          Operation is otherwise supported, but not mapped due to some unspecified limitation
CONV_2D                        5          Mapped to Edge TPU
{TIMER_END}
Compilation succeeded!
"""  # noqa: E501
# 16.0 without -s: no table; it is in the .log file.
SUCCESS_16_WITHOUT_TABLE = f"""Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 1524 ms.

Input model: model.tflite
Input size: 4.24MiB
Output model: model_edgetpu.tflite
Output size: 5.57MiB
On-chip memory used for caching model parameters: 4.21MiB
On-chip memory remaining for caching model parameters: 3.29MiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 267
Operation log: model_edgetpu.log

{CPU_PARAGRAPH}
Number of operations that will run on Edge TPU: 264
Number of operations that will run on CPU: 3
See the operation log file for individual operation details.
{TIMER_END}
Compilation succeeded!
"""
LOG_16 = f"""Edge TPU Compiler version 16.0.384591198
Input: model.tflite
Output: model_edgetpu.tflite

{TABLE_HEAD}

CONV_2D                        264        Mapped to Edge TPU
DEQUANTIZE                     3          Operation is working on an unsupported data type
"""
# 2.0: the memory that was free before comes first; no timer.
SUCCESS_2 = """Edge TPU Compiler version 2.0.291256449

Model compiled successfully in 2356 ms.

Input model: model.tflite
Input size: 25.08MiB
Output model: model_edgetpu.tflite
Output size: 24.87MiB
On-chip memory available for caching model parameters: 6.25MiB
On-chip memory used for caching model parameters: 5.21MiB
Off-chip memory used for streaming uncached model parameters: 18.43MiB
Number of Edge TPU subgraphs: 1
Total number of operations: 77
Operation log: model_edgetpu.log
See the operation log file for individual operation details.
"""
# A float model: the compiler says that it succeeded.
NOTHING_MAPPED = f"""Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 5 ms.

Input model: model.tflite
Input size: 11.90KiB
Output model: model_edgetpu.tflite
Output size: 11.90KiB
On-chip memory used for caching model parameters: 0.00B
On-chip memory remaining for caching model parameters: 0.00B
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 0
Total number of operations: 8
Operation log: model_edgetpu.log

{CPU_PARAGRAPH}
Number of operations that will run on Edge TPU: 0
Number of operations that will run on CPU: 8

{TABLE_HEAD}

CONV_2D                        8          Operation is working on an unsupported data type
{TIMER_END}
Compilation succeeded!
"""

HEAD_16 = "Edge TPU Compiler version 16.0.384591198\nStarted a compilation timeout timer of 180 seconds.\n"
INTERNAL_ERROR = HEAD_16 + "Internal compiler error. Aborting! \n"
FAILURES = {
    "dynamic": HEAD_16
    + "ERROR: Attempting to use a delegate that only supports static-sized tensors with a graph that "
    + f"has dynamic-sized tensors.\n{NOT_IN_INTERPRETER}\n{TIMER_END}\nCompilation failed! \n",
    "custom": HEAD_16
    + "ERROR: Encountered unresolved custom op: Atan.\nERROR: Node number 1 (Atan) failed to prepare.\n\n"
    + f"{NOT_IN_INTERPRETER}\n{TIMER_END}\nCompilation failed! \n",
    "version": "Edge TPU Compiler version 16.0.384591198\n"
    "ERROR: Didn't find op for builtin opcode 'FULLY_CONNECTED' version '12'. An older version of this "
    "builtin might be supported. Are you using an old TFLite binary with a newer model?\n\n"
    "ERROR: Registration failed.\n\nInvalid model: model.tflite\nModel could not be parsed\n",
    "activations": HEAD_16
    + f"Compilation failed due to large activation tensors in model.\n{TIMER_END}\nCompilation failed! \n",
    "bare": HEAD_16 + f"{TIMER_END}\nCompilation failed! \n",
}
