{
  "targets": [
    {
      "target_name": "lockstep",
      "type": "none",
      "actions": [
        {
          "action_name": "build_core",
          "inputs": [],
          "outputs": ["<(PRODUCT_DIR)/lockstep.stamp"],
          "action": ["node", "lib/setup.mjs", "--native"]
        }
      ]
    }
  ]
}
