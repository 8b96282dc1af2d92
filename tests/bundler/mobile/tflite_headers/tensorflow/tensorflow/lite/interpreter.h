#pragma once
#include "../../../tflite/tflite/interpreter.h"
