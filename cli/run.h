/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands share. */
#ifndef AMCT_RUN_H
#define AMCT_RUN_H

#include "amct/quantize.h"

#include "parse.h"

/** Tells what failed. Arguments that cannot be are the user's command line. */
cli_status cli_finish(amct_status status, const amct_error *err);
/** The values of a NAMES; none where it is not given. */
amct_strings cli_names(const cli_call *call, cli_option_id option);

#endif
