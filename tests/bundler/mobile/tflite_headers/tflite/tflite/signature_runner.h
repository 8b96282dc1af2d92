#pragma once
#include "tflite/interpreter.h"
