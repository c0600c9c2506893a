/* SPDX-License-Identifier: Apache-2.0 */
/* consumer MODEL.pb CONFIG.json: what of a model will be quantized. */
#include <amct/amct.h>
#include <stdio.h>

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: consumer MODEL.pb CONFIG.json\n");
    return 2;
  }
  amct_source model = {argv[1], NULL, 0};
  amct_config_options options = AMCT_CONFIG_OPTIONS_INIT;
  amct_error error = {0};
  if (amct_create_quant_config(&model, argv[2], &options, &error) != AMCT_OK) {
    fprintf(stderr, "%s: %s\n", amct_status_name(error.status), error.text);
    return 1;
  }
  printf("amct %s wrote %s\n", amct_version(), argv[2]);
  return 0;
}
